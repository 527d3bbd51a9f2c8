"""examples/typescript: the types against the catalogue and against real answers, and the program through the double.

That the programs compile, and that mistakes.ts does not but for its marked lines, is seen by tsc before any test runs.
"""

import json
import re
import sys
import unittest

from support import EXAMPLES, ExampleCase

sys.path.insert(0, str(EXAMPLES / "typescript"))
import generate  # noqa: E402

SHIPPED = EXAMPLES / "typescript" / "billing_rpc.ts"


class Types(ExampleCase):
    shared_database = True

    def test_what_is_shipped_is_what_the_catalogue_says(self):
        fresh = generate.generate(self.db)
        self.assertEqual(SHIPPED.read_text(), fresh, "make accept KIND=examples writes it anew")

    def test_every_function_that_is_granted_is_there(self):
        granted = {name for name, in self.db.execute(
            "SELECT DISTINCT p.proname FROM pg_proc p, unnest('{billing_service,billing_webhook,billing_user,billing_monitor}'"
            "::regrole[]) role WHERE p.pronamespace = 'public'::regnamespace AND has_function_privilege(role, p.oid, 'EXECUTE')"
            " AND EXISTS (SELECT FROM pg_depend WHERE objid = p.oid AND deptype = 'e')")}
        self.assertEqual(set(re.findall(r"^      (\w+): \{\n        Args", SHIPPED.read_text(), re.M)), granted)

    def columns_never_null(self):
        """By function: the columns of its result that the types say are never null."""
        functions, enums, composites = (
            self.db.execute(query, ["public"]).fetchall()
            for query in (generate.FUNCTIONS, generate.ENUMS, generate.COMPOSITES))
        never = {}
        for name, _, columns, _, _ in composites:
            marked = generate.NEVER_NULL.get(name, set())
            never[name] = marked | (generate.NEVER_NULL_IN_OUTCOMES if "reason" in columns else set())
            self.assertLessEqual(never[name], set(columns), name)
        return {row[0]: (row, never[row[5]]) for row in functions if row[5] in never}

    def test_what_is_never_null_is_not_null_in_the_emptiest_answer(self):
        seen = 0
        for name, (row, columns) in self.columns_never_null().items():
            arguments = "NULL" if row[2] == ["json"] else ""
            for answer in self.db.execute(f"SELECT to_jsonb(x) FROM {name}({arguments}) x").fetchall():
                seen += 1
                self.assertEqual({column for column in columns if answer[0][column] is None}, set(), name)
        self.assertGreater(seen, 25)
        # Those whose empty answer has no rows.
        self.db.execute("SELECT grant_credits('7', 5, 'k')")
        self.db.execute("INSERT INTO billing.refetch_queue (object_type, object_id, requested_reason, requested_at)"
                        " VALUES ('subscription', 'sub_1', 'transition_not_allowed', now())")
        for call in ("credit_history('7')", "pending_refetches()"):
            [(answer,)] = self.db.execute(f"SELECT to_jsonb(x) FROM {call} x").fetchall()
            columns = self.columns_never_null()[call.partition("(")[0]][1]
            self.assertEqual({column for column in columns if answer[column] is None}, set(), call)

    def test_what_is_needed_is_needed(self):
        """A call with all that is needed but one argument is never applied, and finds nobody."""
        values = {"text": "7", "bigint": 1, "integer": 1, "uuid": "00000000-0000-0000-0000-000000000001",
                  "timestamp with time zone": "2026-01-01", "jsonb": "{}", "text[]": "{a}"}
        tried = 0
        for row in self.db.execute(generate.FUNCTIONS, ["public"]).fetchall():
            name, names, types, defaults = row[:4]
            needed = [(p, t) for p, t, d in zip(names, types, defaults)
                      if p and d and d.startswith("NULL") and p not in generate.OPTIONAL.get(name, ())]
            for left_out in needed:
                given = [(p, values[t]) for p, t in needed if (p, t) != left_out]
                call = f"{name}({', '.join(f'{p} => %s' for p, _ in given)})"
                answers = self.db.execute(f"SELECT to_jsonb(x) FROM {call} x", [v for _, v in given]).fetchall()
                tried += 1
                for [answer] in answers:
                    verdict = answer.get("reason", "none") if isinstance(answer, dict) else answer
                    self.assertIn(verdict, ("invalid", "none", False), f"{name} without {left_out[0]}")
                    if verdict == "none":
                        self.assertFalse(answer.get("found") or answer.get("valid") or answer.get("customer_id"), name)
        self.assertGreater(tried, 50)

    def test_a_parameter_that_is_named_optional_exists(self):
        parameters = {row[0]: set(row[1]) for row in self.db.execute(generate.FUNCTIONS, ["public"])}
        for name, optional in generate.OPTIONAL.items():
            self.assertLessEqual(optional, parameters[name], name)


class Shop(ExampleCase):
    shared_database = True

    def setUp(self):
        super().setUp()
        self.api = self.postgrest(gateway=True)

    def shop(self, *arguments, url=None, role="service_role"):
        status, out, err = self.run_node("typescript/shop.js", *arguments, SUPABASE_URL=url or self.api.url,
                                         SUPABASE_SERVICE_KEY=self.api.token(role))
        # The last line: on Node 18 supabase-js has something to say first.
        return json.loads(out) if status == 0 else (status, err.splitlines()[-1])

    def test_buying_and_spending(self):
        credited = {"kind": "credited", "balance": 100}
        self.assertEqual(self.shop("buy", "ada@example.com", "1", "stripe:pi_1"), credited)
        self.assertEqual(self.shop("buy", "ada@example.com", "1", "stripe:pi_1"), credited)
        self.assertEqual(self.shop("buy", "ada@example.com", "2", "stripe:pi_1"), {"kind": "credited already"})
        self.assertEqual(self.shop("picture", "ada@example.com", "p1"), {"kind": "spent", "balance": 70, "repeated": False})
        self.assertEqual(self.shop("picture", "ada@example.com", "p1"), {"kind": "spent", "balance": 70, "repeated": True})
        self.assertEqual(self.shop("film", "ada@example.com", "f1", "60"), {"kind": "refused", "detail": "insufficient_credits"})
        self.db.execute("SELECT grant_credits('ada@example.com', 30, 'k')")
        self.assertEqual(self.shop("film", "ada@example.com", "f1", "60"), {"kind": "spent", "credits": 60, "available": 40})
        shown = self.shop("show", "ada@example.com")
        self.assertEqual((shown["balance"], shown["entries"][0]), (40, ["capture", -60, 40]))

    def test_refusals_have_their_places(self):
        self.assertEqual(self.shop("picture", "nobody@example.com", "p9"), {"kind": "too few"})
        self.assertEqual(self.shop("picture", "undefined", "p9"), {"kind": "refused", "detail": "user_id_placeholder"})
        self.assertEqual(self.shop("buy", "7", "1", "paid"), {"kind": "refused", "detail": "source_ref_invalid"})

    def test_no_answer(self):
        status, said = self.shop("picture", "7", "p9", role="authenticated")
        self.assertEqual((status, said.split(" ")[:3]), (1, ["no", "answer:", "42501"]))

    def test_a_serialization_failure_is_tried_again(self):
        for failures, expected in ((2, {"kind": "spent", "balance": 4, "repeated": False}), (9, None)):
            asked = []

            def busy(*request):
                asked.append(request)
                if len(asked) <= failures:
                    return 500, {"Content-Type": "application/json"}, json.dumps({"code": "40001", "message": "busy"}).encode()
                row = {"applied": True, "reason": "applied", "detail": None, "balance": 4}
                return 200, {"Content-Type": "application/json"}, json.dumps(row).encode()

            answer = self.shop("picture", "7", "p1", url=self.serve(busy))
            if expected is None:
                self.assertEqual((len(asked), answer), (5, (1, "no answer: 40001 busy")))
            else:
                self.assertEqual((len(asked), answer), (3, expected))
            self.assertEqual(len({body for *_, body in asked}), 1, "the same request each time")


if __name__ == "__main__":
    unittest.main()
