"""examples/refetch_worker against a real database and a fake of the one endpoint of Stripe that it uses.

Run by scripts/test_examples.sh, which starts the cluster and gives its address in PGHOST and PGPORT. Every test
has a database of its own.
"""

import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import unittest

import psycopg

WORKER = pathlib.Path(__file__).parents[2] / "examples" / "refetch_worker" / "worker.py"
SECRET = "whsec_examples"
API_KEY = "sk_test_examples"
TIMEOUT_SECONDS = 30


def superuser(database):
    return psycopg.connect(dbname=database, user="postgres", autocommit=True)


def subscription(subscription_id, status, **more):
    return {"id": subscription_id, "object": "subscription", "customer": "cus_1", "status": status, **more}


class FakeStripe:
    """GET /v1/subscriptions/{id}: what stands in `subscriptions`, else Stripe's 404."""

    def __init__(self):
        self.subscriptions = {}
        self.asked = []
        self.before_answer = lambda: None
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.base = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()

    def answer(self, path, authorization):
        subscription_id = path.removeprefix("/v1/subscriptions/")
        self.asked.append(subscription_id)
        self.before_answer()
        if authorization != f"Bearer {API_KEY}":
            return 401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}}
        if subscription_id not in self.subscriptions:
            return 404, {"error": {"type": "invalid_request_error", "code": "resource_missing",
                                   "message": f"No such subscription: '{subscription_id}'"}}
        return 200, self.subscriptions[subscription_id]

    def handler(fake):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = fake.answer(self.path, self.headers.get("Authorization"))
                payload = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_):
                pass

        return Handler

    def close(self):
        self.server.shutdown()
        self.server.server_close()


class RefetchWorker(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        with superuser("postgres") as db:
            db.execute("CREATE DATABASE worker_template TEMPLATE template0")
            db.execute("CREATE ROLE refetch_worker LOGIN")
        with superuser("worker_template") as db:
            db.execute("CREATE EXTENSION billing_rpc")
            db.execute("SELECT billing.add_webhook_secret('stripe', %s)", [SECRET])
            db.execute("GRANT billing_service TO refetch_worker")

    def setUp(self):
        self.database = self._testMethodName
        with superuser("postgres") as db:
            db.execute(f'CREATE DATABASE "{self.database}" TEMPLATE worker_template')
        self.db = superuser(self.database)
        self.addCleanup(self.db.close)
        self.stripe = FakeStripe()
        self.addCleanup(self.stripe.close)
        self.events = 0

    def deliver(self, subscription_id, status):
        """Delivers a signed event; the answer as 'reason detail'. Each is a second later than the one before."""
        self.events += 1
        event = {"id": f"evt_{self.events}", "object": "event", "type": "customer.subscription.updated",
                 "created": int(time.time()) - 100 + self.events, "livemode": False,
                 "data": {"object": subscription(subscription_id, status)}}
        with superuser(self.database) as db:
            [answer] = db.execute(
                "SELECT concat_ws(' ', reason, detail)"
                " FROM process_stripe_webhook(%(body)s, billing.sign_stripe_payload(%(body)s, %(secret)s, now()))",
                {"body": json.dumps(event), "secret": SECRET}).fetchone()
        return answer

    def forbidden_transition(self, subscription_id):
        """Leaves a subscription canceled here, and an event on the queue that says otherwise."""
        self.assertEqual(self.deliver(subscription_id, "canceled"), "applied customer_unlinked")
        self.assertEqual(self.deliver(subscription_id, "active"), "ignored transition_not_allowed")
        self.assertIn(subscription_id, self.queue())

    def queue(self):
        return [row[0] for row in self.db.execute("SELECT object_id FROM pending_refetches()")]

    def status(self, subscription_id):
        row = self.db.execute("SELECT status FROM billing.subscriptions WHERE subscription_id = %s", [subscription_id])
        return row.fetchone()[0]

    def start(self, *arguments, **environment):
        environment = {**os.environ, "DATABASE_URL": f"dbname={self.database} user=refetch_worker",
                       "STRIPE_API_KEY": API_KEY, "STRIPE_API_BASE": self.stripe.base, **environment}
        worker = subprocess.Popen([sys.executable, WORKER, *arguments], env=environment, text=True,
                                  stderr=subprocess.PIPE)
        self.addCleanup(worker.stderr.close)
        self.addCleanup(worker.wait)
        self.addCleanup(worker.kill)
        return worker

    def finish(self, worker):
        """The exit status, and what was said."""
        _, said = worker.communicate(timeout=TIMEOUT_SECONDS)
        return worker.returncode, said

    def once(self, **environment):
        return self.finish(self.start("--once", **environment))

    def wait_for(self, condition, what):
        deadline = time.monotonic() + TIMEOUT_SECONDS
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.02)

    def test_the_truth_is_handed_in(self):
        self.forbidden_transition("sub_1")
        self.stripe.subscriptions["sub_1"] = subscription(
            "sub_1", "past_due", items={"data": [{"price": {"id": "price_pro"}, "quantity": 3}]})
        status, said = self.once()
        self.assertEqual(status, 0, said)
        self.assertIn("sub_1: applied customer_unlinked, canceled to past_due", said)
        self.assertEqual((self.status("sub_1"), self.queue()), ("past_due", []))
        [facts] = self.db.execute("SELECT quantity, price_ids FROM billing.subscriptions").fetchall()
        self.assertEqual(facts, (3, ["price_pro"]))
        self.assertEqual(self.once()[0], 0)
        self.assertEqual(self.stripe.asked, ["sub_1"], "nothing is wanted any more")

    def test_stripe_does_not_answer(self):
        self.forbidden_transition("sub_1")
        self.stripe.close()
        status, said = self.once()
        self.assertEqual(status, 1)
        self.assertIn("Stripe does not answer: APIConnectionError", said)
        self.assertEqual((self.status("sub_1"), self.queue()), ("canceled", ["sub_1"]))

    def test_a_wrong_key_is_said_and_not_shown(self):
        self.forbidden_transition("sub_1")
        status, said = self.once(STRIPE_API_KEY="sk_live_wrong")
        self.assertEqual(status, 1)
        self.assertIn("AuthenticationError, HTTP 401", said)
        self.assertNotIn("sk_live_wrong", said)
        self.assertEqual(self.queue(), ["sub_1"])

    def test_the_database_does_not_answer(self):
        status, said = self.once(PGPORT="1")
        self.assertEqual(status, 1)
        self.assertIn("the database does not answer", said)
        self.assertEqual(self.stripe.asked, [])

    def test_what_stripe_does_not_know_is_left_alone(self):
        self.forbidden_transition("sub_gone")
        self.forbidden_transition("sub_2")
        self.stripe.subscriptions["sub_2"] = subscription("sub_2", "active")
        worker = self.start(POLL_SECONDS="0.05")
        self.wait_for(lambda: self.queue() == ["sub_gone"], "the other one is answered")
        self.deliver("sub_3", "incomplete_expired")
        self.deliver("sub_3", "active")
        self.wait_for(lambda: "sub_3" in self.stripe.asked, "a later round")
        self.assertEqual(self.stripe.asked.count("sub_gone"), 1, "one request is asked for once")
        self.deliver("sub_gone", "trialing")
        self.wait_for(lambda: self.stripe.asked.count("sub_gone") == 2, "another request is another question")
        worker.terminate()
        status, said = self.finish(worker)
        self.assertEqual(status, 0, said)
        self.assertIn("sub_gone: Stripe refused with HTTP 404: No such subscription", said)
        self.assertEqual(self.status("sub_gone"), "canceled")
        status, _ = self.once()
        self.assertEqual(status, 1, "one round says that something is left to do")

    def test_asked_again_meanwhile_stays_on_the_queue(self):
        self.forbidden_transition("sub_1")
        self.stripe.subscriptions["sub_1"] = subscription("sub_1", "canceled")
        self.stripe.before_answer = lambda: self.assertEqual(
            self.deliver("sub_1", "paused"), "ignored transition_not_allowed")
        status, said = self.once()
        self.assertEqual(status, 0, said)
        self.assertIn("sub_1: applied", said)
        self.assertEqual(self.queue(), ["sub_1"], "the answer may be older than the second question")
        self.stripe.before_answer = lambda: None
        self.stripe.subscriptions["sub_1"] = subscription("sub_1", "paused")
        self.assertEqual(self.once()[0], 0)
        self.assertEqual((self.status("sub_1"), self.queue()), ("paused", []))

    def test_a_conflict_with_another_transaction_is_tried_again(self):
        self.forbidden_transition("sub_1")
        self.stripe.subscriptions["sub_1"] = subscription("sub_1", "active")
        with superuser(self.database) as rival:
            rival.execute("BEGIN")
            rival.execute("UPDATE billing.subscriptions SET quantity = 1")
            worker = self.start("--once", PGOPTIONS="-c default_transaction_isolation=serializable")
            self.wait_for(lambda: self.db.execute(
                "SELECT count(*) FROM pg_stat_activity WHERE usename = 'refetch_worker' AND wait_event_type = 'Lock'"
            ).fetchone()[0] == 1, "the worker waits for the rival")
            rival.execute("COMMIT")
        status, said = self.finish(worker)
        self.assertEqual(status, 0, said)
        self.assertIn("trying again after 40001", said)
        self.assertEqual((self.status("sub_1"), self.queue()), ("active", []))

    def test_events_that_are_due_are_tried_again(self):
        self.db.execute(f"ALTER DATABASE \"{self.database}\" SET billing_rpc.webhook_mode = 'record'")
        self.assertEqual(self.deliver("sub_1", "trialing"), "ignored recorded")
        self.db.execute(f"ALTER DATABASE \"{self.database}\" RESET billing_rpc.webhook_mode")
        status, said = self.once()
        self.assertEqual(status, 0, said)
        self.assertIn("event stripe evt_1: applied", said)
        self.assertEqual(self.status("sub_1"), "trialing")

    def test_it_stops_when_told_to(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self.forbidden_transition(f"sub_{number}")
            self.stripe.subscriptions[f"sub_{number}"] = subscription(f"sub_{number}", "active")
            worker = self.start(POLL_SECONDS="600")
            self.wait_for(lambda: self.queue() == [], "the first round is over")
            worker.send_signal(number)
            status, said = self.finish(worker)
            self.assertEqual(status, 0, said)
            self.assertTrue(said.endswith("INFO stopped\n"), said)

    def test_what_is_not_set_is_named(self):
        status, said = self.once(DATABASE_URL="", STRIPE_API_KEY="")
        self.assertEqual(status, 2)
        self.assertIn("set DATABASE_URL and STRIPE_API_KEY", said)


if __name__ == "__main__":
    unittest.main()
