"""What the tests of examples/ share: a database for each test, fakes, and programs that are run.

scripts/test_examples.sh starts the cluster, runs setup.sql and gives PGHOST, PGPORT and, in EXAMPLES_JS, the folder
where the compiled TypeScript is.
"""

import contextlib
import http.server
import json
import os
import pathlib
import subprocess
import sys
import threading
import time
import unittest
import urllib.error
import urllib.request

import psycopg

from postgrest_double import Postgrest

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
STRIPE_SECRET = "whsec_examples"
PAYSTACK_SECRET = "sk_examples"
TIMEOUT_SECONDS = 30


def superuser(database):
    return psycopg.connect(dbname=database, user="postgres", autocommit=True)


def serve(answer):
    """A server on loopback: answer(method, path, headers, body) gives status, headers, body. Its address, and its end."""
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def respond(self):
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, headers, payload = answer(self.command, self.path, self.headers, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(payload)))
            self.end_headers()
            with contextlib.suppress(BrokenPipeError):  # who asked has given up
                self.wfile.write(payload)

        do_GET = do_POST = respond

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def close():
        server.shutdown()
        server.server_close()

    return f"http://127.0.0.1:{server.server_port}", close


class ExampleCase(unittest.TestCase):
    """Every test has a database of its own (see shared_database), with the extension in it unless it names another template."""

    template = "examples"
    # One for all tests of the class, which then have to keep out of each other's way.
    shared_database = False

    def setUp(self):
        if self.shared_database:
            self.database = f"{type(self).__name__}_all_tests".lower()
            if not getattr(type(self), "made", False):
                self.create(self.addClassCleanup)
                type(self).made = True
        else:
            self.database = f"{type(self).__name__}_{self._testMethodName}".lower()[:63]
            self.create(self.addCleanup)
        self.db = superuser(self.database)
        self.addCleanup(self.db.close)

    def create(self, add_cleanup):
        with superuser("postgres") as db:
            db.execute(f'CREATE DATABASE "{self.database}" TEMPLATE {self.template}')
        add_cleanup(self.drop, self.database)

    @staticmethod
    def drop(database):
        with superuser("postgres") as db:
            db.execute(f'DROP DATABASE "{database}" WITH (FORCE)')

    def row(self, statement, parameters=()):
        return self.db.execute(statement, parameters).fetchone()

    def value(self, statement, parameters=()):
        return self.row(statement, parameters)[0]

    def balance(self, user):
        return self.value("SELECT balance FROM credit_balance(%s)", [user])

    def postgrest(self, **options):
        double = Postgrest(self.database, **options)
        self.addCleanup(double.close)
        return double

    def serve(self, answer):
        base, close = serve(answer)
        self.addCleanup(close)
        return base

    def start(self, *command, cwd=None, stdin=None, **environment):
        """A program that finds this test's database, in text mode with its outputs kept apart."""
        environment = {**os.environ, "PGDATABASE": self.database, "PGUSER": "postgres", **environment}
        program = subprocess.Popen([str(part) for part in command], cwd=cwd, env=environment, text=True,
                                   stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(self.end, program)
        return program

    @staticmethod
    def end(program):
        if program.poll() is None:
            program.kill()
        program.wait()
        for stream in (program.stdin, program.stdout, program.stderr):
            if stream:
                stream.close()

    def finish(self, program):
        """The exit status, and what was printed to either side."""
        out, err = program.communicate(timeout=TIMEOUT_SECONDS)
        return program.returncode, out, err

    def run_program(self, *command, **more):
        return self.finish(self.start(*command, **more))

    def run_python(self, program, *arguments, **more):
        return self.run_program(sys.executable, EXAMPLES / program, *arguments, **more)

    def compiled(self, program):
        return pathlib.Path(os.environ["EXAMPLES_JS"]) / program

    def run_node(self, program, *arguments, **more):
        return self.run_program("node", self.compiled(program), *arguments, **more)

    def wait_for(self, condition, what):
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.02)

    def sign_officially(self, *bodies, secret=STRIPE_SECRET, age_seconds=0):
        """Signature headers for bodies, by Stripe's own library for Node."""
        lines = [json.dumps({"payload": body, "secret": secret, "timestamp": int(time.time()) - age_seconds})
                 for body in bodies]
        signer = self.start("node", self.compiled("stripe_sign.js"), stdin=subprocess.PIPE)
        out, err = signer.communicate("\n".join(lines), timeout=TIMEOUT_SECONDS)
        headers = out.split()
        self.assertEqual(len(headers), len(bodies), err)
        return headers

    def sign(self, body):
        """Stripe's signature header for a body, made now."""
        return self.value("SELECT billing.sign_stripe_payload(%s, %s, now())", [body, STRIPE_SECRET])

    def deliver(self, event):
        """Has an event processed as if Stripe had sent it; the answer as 'reason detail'."""
        body = json.dumps(event)
        return self.value("SELECT concat_ws(' ', reason, detail) FROM process_stripe_webhook(%s, %s)",
                          [body, self.sign(body)])


def request(url, method="GET", body=None, headers=None):
    """Status and body of the answer, whatever the status."""
    asked = urllib.request.Request(url, data=body.encode() if isinstance(body, str) else body,
                                   method=method, headers=headers or {})
    try:
        with urllib.request.build_opener(NoRedirect).open(asked, timeout=TIMEOUT_SECONDS) as answer:
            return answer.status, json.loads(answer.read() or "null")
    except urllib.error.HTTPError as answer:
        with answer:
            return answer.code, json.loads(answer.read() or "null")


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


def checkout(event_id="evt_1", session="cs_1", **more):
    """A finished checkout that buys one pack of 100 credits for user 7."""
    return {"id": event_id, "object": "event", "type": "checkout.session.completed", "created": int(time.time()),
            "livemode": False,
            "data": {"object": {"id": session, "object": "checkout.session", "mode": "payment", "payment_status": "paid",
                                "created": int(time.time()), "amount_subtotal": 900, "amount_total": 900,
                                "currency": "eur", "payment_intent": "pi_1", "customer": "cus_7",
                                "metadata": {"pack": "starter", "user_id": "7"}, **more}}}
