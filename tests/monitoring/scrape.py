"""Prometheus itself, with the configuration and the rules of examples/monitoring, scrapes billing.metrics() through what stands in for
PostgREST, and answers every question of the dashboard.

Run by scripts/test_prometheus.sh, which starts the cluster and says in PROMETHEUS where Prometheus and promtool are.
"""

import http.server
import json
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request

import yaml

import test_metrics as planted

BIN = pathlib.Path(os.environ["PROMETHEUS"])
TOKEN = "of the role prometheus"
TIMEOUT_SECONDS = 60


def free_port():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


class PostgRest(http.server.BaseHTTPRequestHandler):
    """A GET of a function: a read-only transaction, the token's role, the bare text, the headers that the function set."""

    accepted = []

    def do_GET(self):
        self.accepted.append(self.headers["Accept"])
        if self.path != "/rpc/billing_metrics":
            return self.send_error(404)
        if self.headers["Authorization"] != f"Bearer {TOKEN}":
            return self.send_error(401)
        with planted.connect() as db:
            db.execute("BEGIN READ ONLY")
            db.execute("SET LOCAL ROLE prometheus")
            [body] = db.execute("SELECT api.billing_metrics()").fetchone()
            [headers] = db.execute("SELECT current_setting('response.headers')").fetchone()
            db.execute("COMMIT")
        self.send_response(200)
        for header in json.loads(headers):
            for name, value in header.items():
                self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


class Scrape(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        planted.setUpModule()
        with planted.connect() as db:
            db.execute("CREATE SCHEMA api")
            db.execute("GRANT USAGE ON SCHEMA api TO PUBLIC")
            db.execute("SET search_path = api")
            db.execute((planted.EXAMPLES / "postgrest.sql").read_text())
            db.execute("UPDATE billing.refetch_queue SET requested_at = now() - interval '1 hour'")
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), PostgRest)
        # Prometheus may go in the middle of an answer.
        server.handle_error = lambda *_: None
        threading.Thread(target=server.serve_forever, daemon=True).start()
        cls.addClassCleanup(server.server_close)
        cls.addClassCleanup(server.shutdown)
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.configure(server.server_port)
        cls.address = f"127.0.0.1:{free_port()}"
        cls.log = open(cls.folder / "log", "w")
        cls.addClassCleanup(cls.log.close)
        run = subprocess.Popen([BIN / "prometheus", f"--config.file={cls.folder}/prometheus.yml", f"--storage.tsdb.path={cls.folder}/data",
                                f"--web.listen-address={cls.address}"], stdout=cls.log, stderr=cls.log)
        cls.addClassCleanup(run.wait)
        cls.addClassCleanup(run.terminate)
        cls.wait(run)

    @classmethod
    def configure(cls, port):
        """The example as it is, but for the address, the token's file, and patience."""
        config = yaml.safe_load((planted.EXAMPLES / "prometheus.yml").read_text())
        config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
        job = config["scrape_configs"][0]
        config["scrape_configs"] = [job]
        job |= {"scheme": "http", "scrape_interval": "1s", "static_configs": [{"targets": [f"127.0.0.1:{port}"]}]}
        job["authorization"]["credentials_file"] = str(cls.folder / "token")
        (cls.folder / "token").write_text(TOKEN)
        (cls.folder / "prometheus.yml").write_text(yaml.safe_dump(config))
        (cls.folder / "alerts.yml").write_text((planted.EXAMPLES / "alerts.yml").read_text())

    @classmethod
    def wait(cls, run):
        """Until it has scraped, and judged the rules by that, twice."""
        end = time.monotonic() + TIMEOUT_SECONDS
        while time.monotonic() < end and run.poll() is None:
            try:
                if float(cls.ask("sum(count_over_time(billing_rpc_extension_info[1m]))")[0]["value"][1]) > 3:
                    return
            except (OSError, IndexError):
                pass
            time.sleep(0.2)
        cls.log.flush()
        raise AssertionError((cls.folder / "log").read_text()[-3000:] + json.dumps(cls.get("targets")["activeTargets"]))

    @classmethod
    def get(cls, what, **parameters):
        with urllib.request.urlopen(f"http://{cls.address}/api/v1/{what}?{urllib.parse.urlencode(parameters)}") as answer:
            return json.load(answer)["data"]

    @classmethod
    def ask(cls, expression):
        return cls.get("query", query=expression)["result"]

    def test_promtool_finds_nothing_wrong(self):
        for what, file in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
            told = subprocess.run([BIN / "promtool", "check", what, file], cwd=self.folder, text=True, capture_output=True)
            self.assertEqual(told.returncode, 0, told.stdout + told.stderr)

    def test_it_asks_for_openmetrics(self):
        self.assertIn("application/openmetrics-text;version=1.0.0", PostgRest.accepted[-1])

    def test_every_sample_arrives(self):
        with planted.connect("lookout") as db:
            told = planted.samples(planted.text(db))
        for name, labels in told:
            chosen = ",".join(f"{label}={json.dumps(value, ensure_ascii=False)}" for label, value in labels)
            self.assertEqual(len(self.ask(f"{name}{{{chosen}}}")), 1, (name, chosen))

    def test_every_panel_has_an_answer(self):
        for panel in json.loads((planted.EXAMPLES / "grafana.json").read_text())["panels"]:
            for target in panel.get("targets", []):
                with self.subTest(panel["title"]):
                    self.assertTrue(self.ask(target["expr"].replace("$instance", ".*").replace("$__rate_interval", "1m")))

    def test_rules_say_what_is_wrong(self):
        rules = {rule["name"]: rule for group in self.get("rules")["groups"] for rule in group["rules"]}
        self.assertEqual({rule["health"] for rule in rules.values()}, {"ok"})
        self.assertEqual({name: rule["state"] for name, rule in rules.items() if rule["state"] != "inactive"}, {
            "BillingDeadEvents": "firing", "BillingSecretEnds": "firing", "BillingEventsNotProcessed": "pending",
            "BillingRefetchesWait": "pending", "BillingHealth": "pending"})
        [dead] = rules["BillingDeadEvents"]["alerts"]
        self.assertEqual(dead["annotations"]["summary"], "1 webhook events of stripe are dead: somebody may have paid and got nothing.")
        self.assertEqual([alert["labels"]["provider"] for alert in rules["BillingSecretEnds"]["alerts"]], ["paystack"])


if __name__ == "__main__":
    unittest.main()
