"""examples/row_policies: what signed-in users see and may do, and how often the policies ask."""

import json
import unittest
import uuid

import psycopg

from support import EXAMPLES, ExampleCase, request, superuser

ADA, BOB = (str(uuid.UUID(int=n)) for n in (1, 2))


class RowPolicies(ExampleCase):
    def setUp(self):
        super().setUp()
        # The role is the cluster's: another test's database may have made it.
        schema = (EXAMPLES / "row_policies" / "schema.sql").read_text()
        self.assertIn("CREATE ROLE app_owner NOLOGIN;\n", schema)
        if self.value("SELECT count(*) FROM pg_roles WHERE rolname = 'app_owner'"):
            schema = schema.replace("CREATE ROLE app_owner NOLOGIN;\n", "")
        self.db.execute(schema)
        self.db.execute("INSERT INTO templates SELECT n, n % 10 <> 0, 'title' FROM generate_series(1, 1000) n")
        self.db.execute("SELECT grant_credits(%s, 15, 'k')", [ADA])
        self.db.execute("SELECT billing.define_plan('pro', 1900, 'eur', 'month', price_ids => '{price_pro}')")
        self.db.execute("SELECT register_billing_user(user_id => %s, stripe_customer_id => 'cus_ada')", [ADA])

    def subscribe(self, status="active"):
        self.db.execute("SELECT apply_subscription_update(%s::jsonb)", [json.dumps({
            "id": "sub_1", "customer": "cus_ada", "status": status,
            "items": {"data": [{"price": {"id": "price_pro"}, "quantity": 1, "current_period_end": 4102444800}]}})])

    def signed_in(self, user):
        """A connection as PostgREST leaves it: the role and the claims of a token."""
        db = superuser(self.database)
        self.addCleanup(db.close)
        db.execute("SET track_functions = 'all'")
        db.execute("SELECT set_config('request.jwt.claims', %s, false)", [json.dumps({"sub": user}) if user else ""])
        db.execute("SET ROLE authenticated")
        return db

    def seen(self, user):
        return self.signed_in(user).execute("SELECT count(*) FROM templates").fetchone()[0]

    def test_subscribers_see_more(self):
        self.assertEqual((self.seen(ADA), self.seen(BOB), self.seen(None)), (100, 100, 100))
        self.subscribe()
        self.assertEqual((self.seen(ADA), self.seen(BOB), self.seen(None)), (1000, 100, 100))
        self.subscribe("canceled")
        self.assertEqual(self.seen(ADA), 100)

    def calls(self, user, function, statement):
        """How often a function is called by one statement."""
        db = self.signed_in(user)
        with db.transaction():
            db.execute(statement)
            db.execute("RESET ROLE")
            [(calls,)] = db.execute(
                "SELECT coalesce(sum(calls), 0) FROM pg_stat_xact_user_functions WHERE funcname = %s", [function]).fetchall()
        return calls

    def test_the_policy_asks_once_per_statement(self):
        self.assertEqual(self.calls(ADA, "has_active_subscription", "SELECT * FROM templates"), 1)
        # As it would be without the inner SELECT: what the README warns of.
        self.db.execute("ALTER POLICY for_subscribers ON templates"
                        " USING (NOT for_subscribers OR has_active_subscription('pro'))")
        self.assertEqual(self.calls(ADA, "has_active_subscription", "SELECT * FROM templates"), 900)

    def test_its_plan_has_an_initplan(self):
        plan = "\n".join(row[0] for row in self.signed_in(ADA).execute("EXPLAIN SELECT * FROM templates"))
        self.assertIn("InitPlan 1", plan)

    def draft(self, user):
        self.signed_in(user).execute("INSERT INTO drafts (title) VALUES ('dawn')")

    def test_only_who_could_pay_may_begin(self):
        self.draft(ADA)
        for user in (BOB, None):
            with self.assertRaises((psycopg.errors.InsufficientPrivilege, psycopg.errors.NotNullViolation)):
                self.draft(user)
        self.db.execute("SELECT spend_credits(%s, 6, 'other')", [ADA])
        with self.assertRaises(psycopg.errors.InsufficientPrivilege):
            self.draft(ADA)
        self.assertEqual(self.value("SELECT count(*) FROM drafts"), 1)
        # Nor by a detour: nobody writes another's name, or touches the tables that are not theirs to write.
        for statement in (f"INSERT INTO drafts (owner, title) VALUES ('{BOB}', 'x')",
                          f"INSERT INTO renderings VALUES ('{ADA}', '{ADA}', 'x')", "DELETE FROM drafts",
                          f"SELECT spend_credits('{BOB}', 1, 'x')"):
            with self.assertRaises(psycopg.errors.InsufficientPrivilege, msg=statement):
                self.signed_in(ADA).execute(statement)

    def test_a_rendering_costs_credits_once(self):
        api = self.postgrest()

        def render(user, number, title="dawn"):
            token = {"Authorization": "Bearer " + api.token("authenticated", sub=user)} if user else {}
            status, answer = request(f"{api.url}/rpc/make_rendering", "POST",
                                     json.dumps({"rendering_id": str(uuid.UUID(int=number)), "title": title}),
                                     {"Content-Type": "application/json", **token})
            return status, answer.get("reason") or answer["code"], answer.get("detail"), answer.get("balance")

        self.assertEqual(render(ADA, 1), (200, "applied", None, 5))
        self.assertEqual(render(ADA, 1), (200, "replay", None, 5))
        self.assertEqual(render(ADA, 2), (200, "invalid", "insufficient_credits", None))
        self.assertEqual(render(BOB, 1), (200, "invalid", "insufficient_credits", None))
        self.assertEqual(render(None, 1)[:2], (401, "42501"))
        self.db.execute("SELECT grant_credits(%s, 10, 'more')", [ADA])
        self.assertEqual(render(ADA, 2, title=None)[:2], (400, "23502"))
        self.assertEqual(self.balance(ADA), 15, "the row was refused, so nothing was spent")
        self.assertEqual(self.signed_in(ADA).execute("SELECT count(*) FROM renderings").fetchone()[0], 1)
        self.assertEqual(self.signed_in(BOB).execute("SELECT count(*) FROM renderings").fetchone()[0], 0)


if __name__ == "__main__":
    unittest.main()
