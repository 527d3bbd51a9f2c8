"""examples/stripe_direct: setup.sql in an empty database, then deliveries signed by Stripe's own libraries."""

import json
import subprocess
import time
import unittest

import stripe

from support import EXAMPLES, PAYSTACK_SECRET, STRIPE_SECRET, ExampleCase, checkout, request, superuser


def set_up(database, *options):
    """What setup.sql prints."""
    return subprocess.run(["psql", "-X", "-U", "postgres", "-d", database, "-f", EXAMPLES / "stripe_direct" / "setup.sql",
                           *options], check=True, capture_output=True, text=True).stdout


class StripeDirect(ExampleCase):
    template = "stripe_direct"

    @classmethod
    def setUpClass(cls):
        with superuser("postgres") as db:
            db.execute("CREATE DATABASE stripe_direct TEMPLATE template0")
            cls.addClassCleanup(cls.drop_template)
        cls.printed = set_up("stripe_direct", "-v", f"stripe_secret={STRIPE_SECRET}", "-v", f"paystack_secret={PAYSTACK_SECRET}")

    @staticmethod
    def drop_template():
        with superuser("postgres") as db:
            db.execute("DROP DATABASE stripe_direct")

    def setUp(self):
        super().setUp()
        self.api = self.postgrest()

    def post(self, body, header=None, provider="stripe"):
        """The status, and the answer as 'reason detail'."""
        if not isinstance(body, str):
            body = json.dumps(body)
        name = "Stripe-Signature" if provider == "stripe" else "X-Paystack-Signature"
        headers = {"Content-Type": "application/json", "User-Agent": "Stripe/1.0"}
        if header := header or (self.sign(body) if provider == "stripe" else None):
            headers[name] = header
        status, answer = request(f"{self.api.url}/rpc/{provider}_webhook", "POST", body, headers)
        return status, " ".join(filter(None, (answer["reason"], answer["detail"])))

    def setting(self, name, value):
        self.db.execute(f"ALTER DATABASE \"{self.database}\" SET billing_rpc.{name} = '{value}'")

    def test_anonymous_callers_may_call_the_two_endpoints_only(self):
        self.assertEqual([line.strip() for line in self.printed.splitlines() if "webhook" in line],
                         ["paystack_webhook", "stripe_webhook"])
        self.assertEqual(self.value("SELECT count(*) FROM billing.access_audit()"), 0)
        status, answer = request(f"{self.api.url}/rpc/grant_credits", "POST", "{}", {"Content-Type": "application/json"})
        self.assertEqual((status, answer["code"]), (401, "42501"))

    def test_setting_up_again_changes_nothing(self):
        before = self.value("SELECT count(*) FROM pg_roles")
        self.assertEqual(set_up(self.database), self.printed)
        self.assertEqual((self.value("SELECT count(*) FROM pg_roles"), self.value("SELECT count(*) FROM billing.webhook_secrets")),
                         (before, 2))

    def test_bodies_signed_by_stripes_own_library(self):
        pretty = json.dumps(checkout("evt_1", "cs_1"), indent=2) + "\n"
        narrow = json.dumps(checkout("evt_2", "cs_2", payment_intent="pi_2", metadata={"pack": "starter", "user_id": "7", "ü": "é"}),
                            separators=(",", ":"), ensure_ascii=False)
        for body, header in zip((pretty, narrow), self.sign_officially(pretty, narrow)):
            self.assertEqual(self.post(body, header), (200, "applied"))
            self.assertEqual(self.post(body, header), (200, "replay"))
        self.assertEqual(self.balance("7"), 200)
        # The other way round: what the extension signs is accepted by the library.
        self.assertEqual(stripe.Webhook.construct_event(narrow, self.sign(narrow), STRIPE_SECRET).id, "evt_2")

    def test_what_is_not_signed_so_is_refused(self):
        body = json.dumps(checkout())
        [foreign] = self.sign_officially(body, secret="whsec_other")
        [old] = self.sign_officially(body, age_seconds=301)
        [right] = self.sign_officially(body)
        self.assertEqual(self.post(body, foreign), (400, "invalid signature_mismatch"))
        self.assertEqual(self.post(body, old), (400, "invalid signature_expired"))
        self.assertEqual(self.post(body + " ", right), (400, "invalid signature_mismatch"))
        self.assertEqual(self.post(body, "t=now"), (400, "invalid signature_malformed"))
        self.assertEqual(self.value("SELECT count(*) FROM billing.webhook_events"), 0)

    def test_refunds_and_a_dispute(self):
        def about_charge(event_id, kind, created, **more):
            return {"id": event_id, "type": kind, "livemode": False, "created": created,
                    "data": {"object": {"id": "ch_1", "payment_intent": "pi_1", **more}}}

        now = int(time.time())
        half = about_charge("evt_2", "charge.refunded", now, amount=900, amount_refunded=450)
        self.assertEqual(self.post(half), (200, "ignored unknown_payment"), "before its purchase: remembered")
        self.assertEqual(self.post(checkout()), (200, "applied"))
        self.assertEqual(self.balance("7"), 50)
        self.assertEqual(self.post(half), (200, "replay"))
        whole = about_charge("evt_3", "charge.refunded", now + 1, amount=900, amount_refunded=900)
        self.assertEqual(self.post(whole), (200, "applied"))
        self.assertEqual(self.balance("7"), 0)

    def test_what_can_be_done_later_is_kept_or_delivered_again(self):
        unknown = checkout(metadata={"pack": "studio", "user_id": "7"})
        self.assertEqual(self.post(unknown), (200, "failed unknown_pack"), "kept: the database tries again")
        self.setting("payload_retention", "none")
        unknown["id"] = "evt_2"
        self.assertEqual(self.post(unknown), (500, "failed unknown_pack"), "not kept: Stripe is to deliver again")
        self.db.execute("SELECT billing.define_pack('studio', 1200, 900, 'eur')")
        self.assertEqual(self.post(unknown), (200, "applied"))

    def test_claimed_switched_off_and_too_large(self):
        self.db.execute("SELECT claim_stripe_event('evt_1', 'checkout.session.completed')")
        self.assertEqual(self.post(checkout()), (409, "duplicate in_progress"))
        self.setting("max_payload_bytes", 1000)
        self.assertEqual(self.post(checkout(padding="x" * 1000)), (400, "invalid payload_too_large"))
        self.setting("webhook_mode", "off")
        self.assertEqual(self.post(checkout()), (503, "invalid webhooks_off"))

    def test_paystack(self):
        body = json.dumps({"event": "charge.success", "data": {
            "id": 1, "domain": "test", "status": "success", "reference": "order-9", "amount": 900, "currency": "EUR",
            "metadata": {"pack": "starter", "user_id": "9"}, "customer": {"customer_code": "CUS_9", "email": "i@example.com"}}})
        signature = self.value("SELECT billing.sign_paystack_payload(%s, %s)", [body, PAYSTACK_SECRET])
        self.assertEqual(self.post(body, "0" * 128, "paystack"), (400, "invalid signature_mismatch"))
        self.assertEqual(self.post(body, signature, "paystack"), (200, "applied"))
        self.assertEqual((self.post(body, signature, "paystack"), self.balance("9")), ((200, "replay"), 100))


if __name__ == "__main__":
    unittest.main()
