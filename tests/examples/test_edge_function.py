"""examples/edge_function under Node, in front of a double of the gateway."""

import json
import time
import unittest

from support import PAYSTACK_SECRET, ExampleCase, checkout, request


class EdgeFunction(ExampleCase):
    shared_database = True

    def edge(self, base, key, **environment):
        """The address of a running function."""
        program = self.start("node", self.compiled("deno_shim.js"), SUPABASE_URL=base, SUPABASE_ANON_KEY=key, **environment)
        port = program.stdout.readline().strip()
        if not port:
            self.fail(program.stderr.read())
        return f"http://127.0.0.1:{port}/functions/v1/billing-webhook", program

    def test_everything_arrives_and_the_status_comes_back(self):
        api = self.postgrest(gateway=True)
        edge, program = self.edge(api.url, api.token("anon"))
        body = " " + json.dumps(checkout(metadata={"pack": "starter", "user_id": "7", "n": "é\\u00e9"}), indent=1,
                                ensure_ascii=False) + "\r\n"
        [signature] = self.sign_officially(body)
        # The gateway itself would refuse Stripe: it sends no key.
        self.assertEqual(request(f"{api.url}/rest/v1/rpc/stripe_webhook", "POST", body, {"Stripe-Signature": signature})[0], 401)

        def post(provider, body, headers):
            status, answer = request(f"{edge}/{provider}", "POST", body, {"Content-Type": "application/json", **headers})
            return status, answer.get("reason"), answer.get("detail")

        self.assertEqual(post("stripe", body, {"Stripe-Signature": signature}), (200, "applied", None))
        self.assertEqual(post("stripe", body, {"Stripe-Signature": signature}), (200, "replay", None))
        self.assertEqual(post("stripe", body + " ", {"Stripe-Signature": signature}), (400, "invalid", "signature_mismatch"))
        self.assertEqual(post("stripe", body, {}), (400, "invalid", "signature_missing"))
        self.assertEqual(post("paystack", body, {"Stripe-Signature": signature}), (400, "invalid", "signature_missing"))
        paystack = json.dumps({"event": "charge.success", "data": {
            "id": 1, "domain": "test", "status": "success", "reference": "order-9", "amount": 900, "currency": "EUR",
            "metadata": {"pack": "starter", "user_id": "9"}}})
        mac = self.value("SELECT billing.sign_paystack_payload(%s, %s)", [paystack, PAYSTACK_SECRET])
        self.assertEqual(post("paystack", paystack, {"X-Paystack-Signature": mac}), (200, "applied", None))
        self.assertEqual((self.balance("7"), self.balance("9")), (100, 100))
        # Held by somebody: Stripe is to come again.
        self.db.execute("SELECT claim_stripe_event('evt_2', 'checkout.session.completed')")
        held = json.dumps(checkout("evt_2"))
        self.assertEqual(post("stripe", held, {"Stripe-Signature": self.sign(held)}), (409, "duplicate", "in_progress"))

        self.assertEqual(post("other", body, {})[0], 404)
        self.assertEqual(post("constructor", body, {})[0], 404)
        self.assertEqual(request(f"{edge}/stripe")[0], 405)
        self.assertEqual(post("stripe", "x" * (1024 * 1024 + 1), {})[0], 413)
        program.terminate()
        _, _, said = self.finish(program)
        self.assertNotIn("@", said)
        self.assertEqual(said.splitlines(), ["stripe: HTTP 400"] * 2 + ["paystack: HTTP 400", "stripe: HTTP 409"])

    def test_a_wrong_key_is_no_success(self):
        api = self.postgrest(gateway=True)
        edge, _ = self.edge(api.url, "sb_publishable_wrong")
        self.assertEqual(request(f"{edge}/stripe", "POST", "{}", {"Content-Type": "application/json"})[0], 401)

    def test_no_answer_is_no_success(self):
        edge, _ = self.edge("http://127.0.0.1:1", "key")
        self.assertEqual(request(f"{edge}/stripe", "POST", "{}")[0], 502)

        def slow(*_):
            time.sleep(0.5)
            return 200, {}, b"{}"

        seen = []

        def elsewhere(*asked):
            seen.append(asked)
            return 302, {"Location": "/login"}, b""

        edge, _ = self.edge(self.serve(slow), "key", BILLING_TIMEOUT_MS="100")
        self.assertEqual(request(f"{edge}/stripe", "POST", "{}")[0], 504)
        edge, _ = self.edge(self.serve(elsewhere), "key")
        self.assertEqual((request(f"{edge}/stripe", "POST", "{}")[0], len(seen)), (302, 1))


if __name__ == "__main__":
    unittest.main()
