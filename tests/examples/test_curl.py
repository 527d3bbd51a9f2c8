"""examples/curl through the double of PostgREST."""

import json
import os
import tempfile
import unittest

from support import EXAMPLES, STRIPE_SECRET, ExampleCase, checkout


class Curl(ExampleCase):
    def setUp(self):
        super().setUp()
        self.api = self.postgrest()

    def call(self, *arguments, **environment):
        """Exit status, the answer, and what was said beside it."""
        status, out, err = self.run_program(EXAMPLES / "curl" / "billing.sh", *arguments, **{
            "BILLING_URL": self.api.url, "BILLING_TOKEN": self.api.token("service_role"),
            "STRIPE_WEBHOOK_SECRET": STRIPE_SECRET, **environment})
        return status, json.loads(out) if out.strip() else None, err

    def event_file(self, text):
        handle, path = tempfile.mkstemp(suffix=".json")
        self.addCleanup(os.unlink, path)
        with os.fdopen(handle, "w") as file:
            file.write(text)
        return path

    def test_buying_spending_and_the_balance(self):
        buy = ("buy", "ada+1@example.com", 100, "order 1", "stripe:pi_1")
        status, answer, said = self.call(*buy)
        self.assertEqual((status, answer["reason"], answer["balance"]), (0, "applied", 100), said)
        status, again, _ = self.call(*buy)
        self.assertEqual((status, again["reason"], again["entry_id"]), (0, "replay", answer["entry_id"]))
        status, answer, _ = self.call("buy", "ada+1@example.com", 100, "order 2", "stripe:pi_1")
        self.assertEqual((status, answer["detail"]), (0, "already_credited"))
        self.assertEqual(self.call("spend", "ada+1@example.com", 30, "image:1")[1]["balance"], 70)
        status, answer, _ = self.call("balance", "ada+1@example.com")
        self.assertEqual((status, answer["balance"]), (0, 70))

    def test_refusals(self):
        status, answer, _ = self.call("spend", "ada@example.com", 30, "image:1")
        self.assertEqual((status, answer["detail"]), (3, "insufficient_credits"))
        # curl's own 22: the answer was an HTTP error.
        self.assertEqual(self.call("spend", "ada@example.com", 30, "image:1", BILLING_TOKEN="nonsense")[0], 22)
        self.assertEqual(self.call("spend", "ada@example.com", "many", "image:1")[0], 22)
        self.assertEqual(self.call("spend", "ada@example.com")[0], 2)
        self.assertEqual(self.call()[0], 2)

    def test_a_webhook_is_signed_over_its_very_bytes(self):
        path = self.event_file(" " + json.dumps(checkout(), indent=3) + "\r\n")
        status, answer, said = self.call("webhook", path)
        self.assertEqual((status, answer["reason"]), (0, "applied"), said)
        self.assertEqual((self.call("webhook", path)[1]["reason"], self.balance("7")), ("replay", 100))
        status, answer, said = self.call("webhook", path, STRIPE_WEBHOOK_SECRET="whsec_other")
        self.assertEqual((status, answer["detail"]), (1, "signature_mismatch"), said)


if __name__ == "__main__":
    unittest.main()
