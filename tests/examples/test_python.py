"""examples/python: psycopg against the database, supabase-py through the double of the gateway."""

import json
import sys
import unittest

from support import EXAMPLES, ExampleCase, superuser


class Psycopg(ExampleCase):
    def setUp(self):
        super().setUp()
        self.db.execute((EXAMPLES / "python" / "schema.sql").read_text())

    def app(self, *arguments):
        return self.start_app(*arguments)()

    def start_app(self, *arguments, **environment):
        program = self.start(sys.executable, EXAMPLES / "python" / "app.py", *arguments, PGUSER="backend", **environment)

        def ended():
            status, out, err = self.finish(program)
            return status, out.strip() or err
        return ended

    def pictures(self):
        return self.value("SELECT count(*) FROM pictures")

    def test_spending_and_the_row_go_together(self):
        buy = ("buy", "7", "1", "stripe:pi_1")
        self.assertEqual(self.app(*buy), (0, "credited"))
        self.assertEqual(self.app(*buy), (0, "credited before"))
        self.assertEqual(self.app("buy", "7", "2", "stripe:pi_1"), (0, "credited before"))
        self.assertEqual(self.app("picture", "7", "p1", "Dawn"), (0, "made"))
        self.assertEqual(self.app("picture", "7", "p1", "Dawn"), (0, "made before"))
        self.assertEqual((self.app("balance", "7"), self.pictures()), ((0, "70"), 1))
        # The application's own row fails: the credits were never spent, and the key is free.
        status, said = self.app("picture", "7", "p2", "")
        self.assertEqual((status, "CheckViolation" in said), (1, True), said)
        self.assertEqual((self.app("balance", "7"), self.pictures()), ((0, "70"), 1))
        self.assertEqual(self.app("picture", "7", "p2", "Dusk"), (0, "made"))

    def test_refusals(self):
        self.assertEqual(self.app("picture", "7", "p1", "Dawn"), (3, "not enough credits"))
        self.assertEqual(self.app("picture", "{{user_id}}", "p1", "Dawn"), (3, "refused: user_id_placeholder"))
        self.assertEqual((self.pictures(), self.app("balance", "7")), (0, (0, "None")))

    def test_the_whole_transaction_is_tried_again(self):
        self.db.execute("SELECT grant_credits('7', 100, 'k')")
        with superuser(self.database) as rival:
            rival.execute("BEGIN; SELECT spend_credits('7', 5, 'rival')")
            app = self.start_app("picture", "7", "p1", "Dawn",
                                 PGOPTIONS="-c default_transaction_isolation=serializable")
            self.wait_for(lambda: self.value(
                "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'") == 1,
                "it waits for the rival")
            rival.execute("COMMIT")
        self.assertEqual(app(), (0, "made"))
        self.assertEqual((self.balance("7"), self.pictures()), (65, 1))


class SupabasePy(ExampleCase):
    shared_database = True

    def rest(self, *arguments, url, key):
        status, out, err = self.run_python("python/rest.py", *arguments, SUPABASE_URL=url, SUPABASE_SERVICE_KEY=key)
        return status, out.strip() or err.strip()

    def test_through_the_gateway(self):
        api = self.postgrest(gateway=True)
        us = {"url": api.url, "key": api.token("service_role")}
        self.assertEqual(self.rest("buy", "ada@example.com", "1", "stripe:pi_1", **us), (0, "credited"))
        self.assertEqual(self.rest("picture", "ada@example.com", "p1", **us), (0, "spent"))
        self.assertEqual(self.rest("picture", "ada@example.com", "p1", **us), (0, "spent before"))
        self.assertEqual(self.rest("picture", "bob@example.com", "p1", **us), (3, "refused: idempotency_key_reused"))
        self.assertEqual(json.loads(self.rest("show", "ada@example.com", **us)[1]),
                         {"available": 70, "entries": [["spend", -30], ["purchase", 100]]})
        self.assertEqual(self.rest("picture", "7", "p2", url=api.url, key=api.token("authenticated")), (1, "no answer: 42501"))

    def test_a_serialization_failure_is_tried_again(self):
        asked = []

        def busy(*request):
            asked.append(request)
            if len(asked) < 3:
                return 500, {"Content-Type": "application/json"}, json.dumps(
                    {"code": "40001", "message": "busy", "details": None, "hint": None}).encode()
            row = {"applied": True, "reason": "applied", "detail": None, "entry_id": 1, "credits": -30, "balance": 4}
            return 200, {"Content-Type": "application/json"}, json.dumps(row).encode()

        key = self.postgrest().token("service_role")
        self.assertEqual((self.rest("picture", "7", "p1", url=self.serve(busy), key=key), len(asked)), ((0, "spent"), 3))


if __name__ == "__main__":
    unittest.main()
