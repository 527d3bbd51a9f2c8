"""billing.metrics(), read by the parser that OpenMetrics' own library has, and compared with the tables; and everything in
examples/monitoring and examples/psql that asks for these numbers.

Run by scripts/test_monitoring.sh, which starts the cluster and gives its address in PGHOST and PGPORT.
"""

import json
import math
import pathlib
import re
import subprocess
import unittest

import promql_parser
import psycopg
import yaml
from prometheus_client.openmetrics.parser import text_string_to_metric_families

ROOT = pathlib.Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "monitoring"
DATABASE = "monitoring"
# At most 63 bytes each, and nothing that a careless writer of the format would get through with.
STRANGE = ['a"b', "back\\slash", "two\nlines", "ends with \\", '\\"', "\\n", "} 1\n# EOF", "tab\tand\rreturn", "Größe 💶 \u2028", 'x="y",z', "{}", "credits"]


def connect(user="postgres"):
    return psycopg.connect(dbname=DATABASE, user=user, autocommit=True)


def setUpModule():
    with psycopg.connect(dbname="postgres", user="postgres", autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        admin.execute("CREATE ROLE lookout LOGIN")
    with connect() as db:
        db.execute("CREATE EXTENSION billing_rpc")
        db.execute("GRANT billing_monitor TO lookout")
        plant(db)


def plant(db):
    """Some of everything, under strange names."""
    for number, name in enumerate(STRANGE):
        answer(db, "SELECT reason::text FROM grant_credits('7', %s, %s, %s)", 1000 + number, f"grant-{number}", name)
        answer(db, "SELECT reason::text FROM claim_webhook_event(%s, %s, 'ping')", name.strip(), f"evt_{number}")
        answer(db, "SELECT reason::text FROM hold_credits('7', %s, %s, 900, %s)", 1 + number, f"hold-{number}", name)
    # More than 64 bits together.
    for user in (8, 9):
        answer(db, "SELECT reason::text FROM grant_credits(%s, %s, %s, 'vast')", str(user), 2**63 - 1, f"vast-{user}")
    # Failed without a body, dead, recorded; a hold and a lease that ran out; unsigned.
    fail = "SELECT f.reason::text FROM claim_stripe_event(%s, 'invoice.paid') AS c, LATERAL fail_stripe_event(%s, c.claim_token, 'no') AS f"
    for event in ("evt_failed", "evt_dead"):
        answer(db, fail, event, event)
    db.execute("UPDATE billing.webhook_events SET status = 'dead', next_attempt_at = NULL WHERE event_id = 'evt_dead'")
    answer(db, "SELECT reason::text FROM claim_stripe_event('evt_gone', 'invoice.paid')")
    db.execute("UPDATE billing.webhook_events SET lease_until = now() - interval '1 hour' WHERE event_id = 'evt_gone'")
    db.execute("UPDATE billing.holds SET expires_at = now() - interval '1 hour' WHERE idempotency_key = 'hold-3'")
    db.execute("""SELECT billing.add_webhook_secret('stripe', 'whsec_1'), billing.add_webhook_secret('stripe', 'whsec_2', now() + interval '10 days'),
        billing.add_webhook_secret('paystack', 'sk_1', now() - interval '1 day'), billing.add_webhook_secret('stripe', 'whsec_4', 'infinity')""")
    for mode, event in (("record", "evt_recorded"), ("process", "evt_done")):
        deliver(db, event, mode)
    db.execute("UPDATE billing.webhook_events SET next_attempt_at = now() - interval '1000 seconds' WHERE event_id = 'evt_recorded'")
    db.execute("UPDATE billing.webhook_events SET unsigned = true WHERE event_id = 'evt_done'")
    for status in ("active", "active", "canceled"):
        db.execute("""INSERT INTO billing.subscriptions (cancel_at_period_end, is_truth, provider, subscription_id, provider_customer, status,
            object_status, price_ids) VALUES (false, false, 'stripe', 'sub_' || gen_random_uuid(), 'cus_1', %s, %s, '{}')""", [status, status])
    db.execute("INSERT INTO billing.refetch_queue SELECT now() - interval '500 seconds', 'subscription', 'sub_' || n, 'stale_event' FROM generate_series(1, 3) AS n")


def answer(db, statement, *arguments):
    [(reason,)] = db.execute(statement, arguments).fetchall()
    assert reason == "applied", (statement, arguments, reason)


def deliver(db, event, mode="process"):
    body = json.dumps({"id": event, "type": "product.created", "livemode": True, "data": {"object": {"id": "prod_1"}}})
    db.execute(f"SET billing_rpc.webhook_mode = {mode}")
    db.execute("SELECT process_stripe_webhook(%s, billing.sign_stripe_payload(%s, 'whsec_1'))", [body, body])
    db.execute("RESET billing_rpc.webhook_mode")


def buy(db, number, live=True):
    session = {"id": f"cs_{number}", "object": "checkout.session", "mode": "payment", "payment_status": "paid", "amount_total": 1,
               "currency": "eur", "metadata": {"credits": "1", "user_id": "7"}}
    body = json.dumps({"id": f"evt_cs_{number}", "type": "checkout.session.completed", "livemode": live, "created": 1700000000, "data": {"object": session}})
    answer(db, "SELECT reason::text FROM process_stripe_webhook(%s, billing.sign_stripe_payload(%s, 'whsec_1'))", body, body)


def text(db):
    # What a session has done is in the server's statistics once it has been sent there.
    db.execute("SELECT pg_stat_force_next_flush()")
    [(told,)] = db.execute("SELECT billing.metrics()").fetchall()
    return told


def families(told):
    return {family.name: family for family in text_string_to_metric_families(told)}


def samples(told):
    """Every sample as {(name, labels): value}; none may stand there twice."""
    every = {}
    for family in families(told).values():
        for sample in family.samples:
            key = (sample.name, frozenset(sample.labels.items()))
            assert key not in every, key
            every[key] = sample.value
    return every


def of(told, name):
    """The samples of one name, by the values of their labels in the order of the labels' names."""
    return {tuple(value for _, value in sorted(labels)): number for (sample, labels), number in samples(told).items() if sample == name}


class Metrics(unittest.TestCase):
    def setUp(self):
        with connect("lookout") as db:
            self.told = text(db)
        self.db = connect()
        self.addCleanup(self.db.close)

    def same(self, name, query):
        """The samples of that name are the query's rows: labels (in the order of their names) and number."""
        rows = {tuple(str(label) for label in row[:-1]): int(row[-1]) for row in self.db.execute(query)}
        self.assertEqual(of(self.told, name), rows)
        return rows

    def test_its_end_and_its_order(self):
        self.assertTrue(self.told.endswith("\n# EOF\n"))
        self.assertEqual(self.told.count("# TYPE"), len(families(self.told)))

    def test_every_family_is_described(self):
        for family in families(self.told).values():
            with self.subTest(family.name):
                self.assertRegex(family.name, "^billing_rpc_[a-z_]+$")
                self.assertTrue(family.documentation.endswith("."))
                self.assertIn(family.type, ("counter", "gauge", "info"))
                self.assertTrue(family.samples, "what is planted shows each")

    def test_credits(self):
        rows = self.same("billing_rpc_outstanding_credits", "SELECT credit_type, sum(balance) FROM billing.balances GROUP BY 1")
        self.assertEqual({labels[0] for labels in rows}, {*STRANGE, "vast"}, "every name comes back as it is")
        self.assertEqual(rows["vast",], 2**64 - 2)
        self.assertIn('credit_type="vast"} 18446744073709551614\n', self.told, "to the last digit")
        self.same("billing_rpc_held_credits", "SELECT credit_type, sum(held) FROM billing.balances GROUP BY 1")
        self.same("billing_rpc_balances", "SELECT credit_type, count(*) FROM billing.balances GROUP BY 1")
        self.same("billing_rpc_customers", "SELECT count(*) FROM billing.customers")

    def test_holds_that_ran_out_do_not_count(self):
        rows = self.same("billing_rpc_open_holds", "SELECT credit_type, count(*) FROM billing.holds WHERE status = 'open' AND expires_at > now() GROUP BY 1")
        self.assertEqual(len(rows), len(STRANGE) - 1)

    def test_unfinished_events(self):
        rows = self.same("billing_rpc_unfinished_events", """
            SELECT provider, status, count(event_id) FROM (
                SELECT provider, status, event_id FROM billing.webhook_events WHERE status <> 'completed'
                UNION ALL SELECT p, s, NULL FROM unnest('{stripe,paystack}'::text[]) AS p, unnest('{recorded,processing,failed,dead}'::text[]) AS s) AS all_events
            GROUP BY 1, 2""")
        for status in ("recorded", "processing", "failed", "dead"):
            self.assertEqual(rows["stripe", status], 1, status)
        self.assertEqual(rows["two\nlines", "processing"], 1)

    def test_what_waits(self):
        self.assertEqual(of(self.told, "billing_rpc_leases_ran_out"), {(): 1})
        self.assertEqual(of(self.told, "billing_rpc_unsigned_events"), {(): 1})
        self.assertEqual(of(self.told, "billing_rpc_refetch_queue_length"), {(): 3})
        for name, least in (("billing_rpc_oldest_due_event_age_seconds", 1000), ("billing_rpc_refetch_queue_oldest_age_seconds", 500)):
            age = of(self.told, name)[()]
            self.assertTrue(least <= age < least + 300, f"{name} is {age}")

    def test_subscriptions(self):
        self.same("billing_rpc_subscriptions", "SELECT provider, status, count(*) FROM billing.subscriptions GROUP BY 1, 2")

    def test_secrets(self):
        ends = of(self.told, "billing_rpc_webhook_secret_remaining_seconds")
        self.assertEqual(ends["stripe", "1"], math.inf)
        self.assertEqual(ends["stripe", "4"], math.inf)
        self.assertAlmostEqual(ends["stripe", "2"], 864000, delta=300)
        self.assertAlmostEqual(ends["paystack", "3"], -86400, delta=300)
        self.assertEqual(len(ends), 4)
        self.assertNotIn("whsec", self.told)

    def test_health(self):
        rows = self.same("billing_rpc_health", "SELECT check_name, ok::integer FROM billing.health()")
        self.assertEqual(rows["dead_events",], 0)
        self.assertEqual(rows["access",], 1)

    def test_versions(self):
        [version] = self.db.execute("SELECT extversion FROM pg_extension WHERE extname = 'billing_rpc'").fetchone()
        self.assertEqual(of(self.told, "billing_rpc_extension_info"), {(version, version): 1})

    def test_counters_count_and_never_fall(self):
        counters = [f"{name}_total" for name, family in families(self.told).items() if family.type == "counter"]
        self.assertEqual(sorted(counters), ["billing_rpc_events_received_total", "billing_rpc_ledger_entries_total"])
        with connect() as db:
            before = text(db)
            for number in range(3):
                answer(db, "SELECT reason::text FROM spend_credits('7', 1, %s)", f"spend-{number}")
                deliver(db, f"evt_more_{number % 2}")
            deliver(db, "evt_done")
            after = text(db)
        grown = {name: of(after, name)[()] - of(before, name)[()] for name in counters}
        self.assertEqual(grown, {"billing_rpc_events_received_total": 2, "billing_rpc_ledger_entries_total": 3})
        # Purged and dismissed, reversed and forgotten: rows may go, the counters stay.
        with connect() as db:
            db.execute("DELETE FROM billing.webhook_events WHERE event_id LIKE 'evt_more_%'")
            db.execute("SELECT billing.purge_webhook_events('0', 1000)")
            last = text(db)
        for name in counters:
            self.assertGreaterEqual(of(last, name)[()], of(after, name)[()])


class Cost(unittest.TestCase):
    def test_a_delivery_that_goes_well_pays_nothing_for_this(self):
        """Its row is inserted complete and never changed: no index that failures or test mode need has an entry of it."""
        seen = """SELECT n_tup_ins, n_tup_upd,
                (SELECT sum(pg_relation_size(i)) FROM unnest(ARRAY['billing.webhook_events_failures', 'billing.webhook_events_due',
                     'billing.webhook_events_leases', 'billing.webhook_events_waiting']::regclass[]) AS i)
            FROM pg_stat_user_tables WHERE relid = 'billing.webhook_events'::regclass"""
        with connect() as db:
            db.execute("SELECT pg_stat_force_next_flush()")
            inserted, updated, size = db.execute(seen).fetchone()
            for number in range(400):
                buy(db, number)
            db.execute("SELECT pg_stat_force_next_flush()")
            inserted_then, updated_then, size_then = db.execute(seen).fetchone()
        self.assertEqual((inserted_then - inserted, updated_then - updated), (400, 0))
        # Four hundred entries would take several pages.
        self.assertEqual(size_then, size)


class Queries(unittest.TestCase):
    """Whoever asks asks for what there is."""

    @classmethod
    def setUpClass(cls):
        with connect("lookout") as db:
            told = text(db)
        cls.labels = {}
        for name, labels in samples(told):
            cls.labels.setdefault(name, set()).update(label for label, _ in labels)

    def names(self, expression):
        """The metrics that a PromQL expression asks for; each with labels that it has, beside those of every target."""
        parsed = promql_parser.parse(expression.replace("$__rate_interval", "5m"))
        found = set()

        def walk(node):
            if isinstance(node, promql_parser.VectorSelector):
                found.add(node.name)
                self.assertIn(node.name, self.labels, expression)
                for matcher in node.matchers.matchers:
                    self.assertIn(matcher.name, self.labels[node.name] | {"instance", "job"}, expression)
            for part in ("expr", "lhs", "rhs", "vector_selector", "args"):
                inner = getattr(node, part, None)
                for one in inner if isinstance(inner, list) else [inner]:
                    if one is not None:
                        walk(one)
            grouping = getattr(getattr(node, "modifier", None), "labels", None)
            if isinstance(node, promql_parser.AggregateExpr) and grouping:
                for name in found:
                    self.assertLessEqual(set(grouping), self.labels[name], expression)

        walk(parsed)
        self.assertTrue(found, expression)
        return found

    def test_the_walk_sees(self):
        self.assertEqual(self.names("sum by (check) (rate(billing_rpc_health[5m]) > 0) or vector(1)"), {"billing_rpc_health"})
        for wrong in ("billing_rpc_nothing", "sum(rate(billing_rpc_nothing[5m]))", "vector(1) or (1 - billing_rpc_nothing)",
                      'billing_rpc_health{status="dead"}', "sum by (status) (billing_rpc_health)"):
            with self.subTest(wrong), self.assertRaises(AssertionError):
                self.names(wrong)

    def test_dashboard(self):
        dashboard = json.loads((EXAMPLES / "grafana.json").read_text())
        self.assertEqual([variable["name"] for variable in dashboard["templating"]["list"]], ["datasource", "instance"])
        self.assertNotIn("id", dashboard, "Grafana gives it one")
        panels = dashboard["panels"]
        self.assertEqual(len({panel["id"] for panel in panels}), len(panels))
        shown, places = set(), set()
        for panel in panels:
            place = panel["gridPos"]
            cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
            self.assertFalse(cells & places, f"{panel['title']} lies over another")
            self.assertLessEqual(place["x"] + place["w"], 24)
            places |= cells
            if panel["type"] == "row":
                continue
            with self.subTest(panel["title"]):
                self.assertTrue(panel["description"].endswith("."))
                self.assertTrue(panel["fieldConfig"]["defaults"]["unit"])
                self.assertTrue(panel["fieldConfig"]["defaults"]["thresholds"]["steps"])
                self.assertEqual(panel["datasource"], {"type": "prometheus", "uid": "${datasource}"})
                for target in panel["targets"]:
                    asked = self.names(target["expr"])
                    shown |= asked
                    self.assertIn('instance=~"$instance"', target["expr"])
                    for label in re.findall(r"{{(\w+)}}", target["legendFormat"]):
                        self.assertTrue(all(label in self.labels[name] for name in asked), label)
        self.assertEqual(shown, set(self.labels), "every metric is shown somewhere")

    def test_alerts(self):
        groups = yaml.safe_load((EXAMPLES / "alerts.yml").read_text())["groups"]
        rules = [rule for group in groups for rule in group["rules"]]
        self.assertEqual(len({rule["alert"] for rule in rules}), len(rules))
        for rule in rules:
            with self.subTest(rule["alert"]):
                self.names(rule["expr"])
                self.assertLessEqual(set(rule), {"alert", "expr", "for", "labels", "annotations"})
                for label in re.findall(r"\$labels\.(\w+)", rule["annotations"]["summary"]):
                    self.assertTrue(any(label in self.labels[name] for name in self.names(rule["expr"])), label)

    def test_prometheus(self):
        config = yaml.safe_load((EXAMPLES / "prometheus.yml").read_text())
        for file in config["rule_files"]:
            self.assertTrue((EXAMPLES / file).is_file(), file)
        function = re.search(r"CREATE FUNCTION (\w+)\(\)", (EXAMPLES / "postgrest.sql").read_text())[1]
        self.assertEqual(config["scrape_configs"][0]["metrics_path"], f"/rpc/{function}")


class Exporter(unittest.TestCase):
    def test_sql_exporter_tells_the_same(self):
        config = yaml.safe_load((EXAMPLES / "sql_exporter.yml").read_text())
        collector = yaml.safe_load((EXAMPLES / "billing_rpc.collector.yml").read_text())
        self.assertEqual(config["target"]["collectors"], [collector["collector_name"]])
        self.assertEqual(config["collector_files"], ["billing_rpc.collector.yml"])
        shared = {query["query_name"]: query["query"] for query in collector["queries"]}
        with connect("lookout") as db:
            told = text(db)
            types = {name: family.type for name, family in families(told).items()}
            for metric in collector["metrics"]:
                with self.subTest(metric["metric_name"]):
                    self.assertEqual(metric["type"], types[metric["metric_name"]])
                    cursor = db.execute(metric.get("query") or shared[metric["query_ref"]])
                    columns = [column.name for column in cursor.description]
                    [value] = metric["values"]
                    labels = sorted(metric.get("key_labels", []))
                    rows = {tuple(row[columns.index(label)] for label in labels): float(row[columns.index(value)]) for row in cursor}
                    expected = of(told, metric["metric_name"])
                    self.assertEqual(set(rows), set(expected))
                    for key, number in expected.items():
                        # Ages go on between two looks.
                        self.assertTrue(rows[key] == float(number) or abs(rows[key] - number) < 60 and "seconds" in metric["metric_name"], (key, rows[key], number))


class PostgRest(unittest.TestCase):
    """What PostgREST does for GET /rpc/billing_metrics, in its words: a read-only transaction, the token's role, the bare text of a
    function that returns the domain "*/*", the headers from response.headers. The server itself is not here."""

    def test_a_scrape(self):
        with connect() as db:
            db.execute("CREATE SCHEMA api")
            db.execute("SET search_path = api")
            db.execute((EXAMPLES / "postgrest.sql").read_text())
            db.execute("GRANT USAGE ON SCHEMA api TO PUBLIC")
            [returns] = db.execute("SELECT typname FROM pg_proc JOIN pg_type ON pg_type.oid = prorettype WHERE proname = 'billing_metrics'").fetchone()
            self.assertEqual(returns, "*/*")
            db.execute("BEGIN READ ONLY")
            db.execute("SET LOCAL ROLE prometheus")
            [body] = db.execute("SELECT api.billing_metrics()").fetchone()
            [headers] = db.execute("SELECT current_setting('response.headers')").fetchone()
            db.execute("COMMIT")
            self.assertIn("billing_rpc_health", families(body))
            [header] = json.loads(headers)
            self.assertEqual(header, {"Content-Type": "application/openmetrics-text; version=1.0.0; charset=utf-8"})
            for role in ("billing_service", "billing_user"):
                db.execute(f"SET ROLE {role}")
                with self.assertRaises(psycopg.errors.InsufficientPrivilege):
                    db.execute("SELECT api.billing_metrics()")
                db.execute("RESET ROLE")


class Psql(unittest.TestCase):
    FILE = ROOT / "examples" / "psql" / "billing.psql"

    def run_psql(self, script):
        return subprocess.run(["psql", "-X", "-v", "ON_ERROR_STOP=1", "-U", "lookout", "-d", DATABASE, "-f", "-"], input=script, text=True, capture_output=True)

    def test_every_shortcut_runs_for_a_monitor(self):
        names = re.findall(r"^\\set (\w+) ", self.FILE.read_text(), re.MULTILINE)
        listed = re.findall(r":(\w+)", self.FILE.read_text().splitlines()[-1])
        self.assertEqual(listed, names, "the last line lists them")
        for name in names:
            with self.subTest(name):
                ran = self.run_psql(f"\\i {self.FILE}\n:{name}\n")
                self.assertEqual((ran.returncode, ran.stderr), (0, ""), ran.stdout)
                self.assertRegex(ran.stdout, r"\(\d+ rows?\)|RECORD 1", ran.stdout)

    def test_a_wrong_one_would_be_seen(self):
        self.assertNotEqual(self.run_psql(f"\\i {self.FILE}\n:nothing\n").returncode, 0)


if __name__ == "__main__":
    unittest.main()
