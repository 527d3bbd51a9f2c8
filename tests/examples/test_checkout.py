"""examples/checkout: button, success page and webhook, which race for the same session."""

import concurrent.futures
import json
import threading
import time
import unittest
import urllib.parse

from support import ExampleCase, request

API_KEY = "sk_test_examples"


class FakeStripe:
    """The two endpoints of checkout sessions that the example uses. Who opens a session has paid it at once."""

    def __init__(self):
        self.sessions = {}
        self.lock = threading.Lock()

    def __call__(self, method, path, headers, body):
        if headers.get("Authorization") != f"Bearer {API_KEY}":
            return self.answer(401, {"error": {"type": "invalid_request_error", "message": "Invalid API Key provided"}})
        if (method, path) == ("POST", "/v1/checkout/sessions"):
            return self.answer(200, self.open(dict(urllib.parse.parse_qsl(body.decode()))))
        session = self.sessions.get(path.removeprefix("/v1/checkout/sessions/"))
        if session is None:
            return self.answer(404, {"error": {"type": "invalid_request_error", "code": "resource_missing",
                                               "message": "No such checkout.session"}})
        return self.answer(200, session)

    @staticmethod
    def answer(status, body):
        return status, {"Content-Type": "application/json"}, json.dumps(body).encode()

    def open(self, form):
        with self.lock:
            number = len(self.sessions) + 1
            amount = int(form["line_items[0][price_data][unit_amount]"])
            session = {"id": f"cs_test_{number}", "object": "checkout.session", "mode": form["mode"], "payment_status": "paid",
                       "url": f"https://checkout.example/{number}", "created": int(time.time()), "livemode": False,
                       "amount_subtotal": amount, "amount_total": amount, "payment_intent": f"pi_{number}",
                       "currency": form["line_items[0][price_data][currency]"], "customer": None,
                       "metadata": {"user_id": form["metadata[user_id]"], "pack": form["metadata[pack]"]}}
            self.sessions[session["id"]] = session
            return session


class Checkout(ExampleCase):
    def setUp(self):
        super().setUp()
        self.stripe = FakeStripe()
        self.api = self.postgrest(gateway=True)
        program = self.start("node", self.compiled("checkout/server.js"), PORT="0", ORIGIN="https://shop.example",
                             STRIPE_API_KEY=API_KEY, STRIPE_API_BASE=self.serve(self.stripe), SUPABASE_URL=self.api.url,
                             SUPABASE_SERVICE_KEY=self.api.token("service_role"))
        line = program.stdout.readline()
        self.assertIn("listening on", line, line or program.stderr.read())
        self.base = f"http://127.0.0.1:{line.split()[-1]}"

    def open(self, pack="starter", user="7"):
        status, answer = request(f"{self.base}/checkout?pack={pack}", "POST", "", {"X-User-Id": user})
        self.assertEqual(status, 303, answer)
        return next(reversed(self.stripe.sessions))

    def page(self, session, user="7"):
        return request(f"{self.base}/success?session_id={session}", headers={"X-User-Id": user})

    def webhook(self, session, event_id=None):
        event = {"id": event_id or f"evt_{session}", "object": "event", "type": "checkout.session.completed",
                 "created": int(time.time()), "livemode": False, "data": {"object": self.stripe.sessions[session]}}
        return self.deliver(event)

    def test_the_page_comes_first(self):
        session = self.open()
        self.assertEqual(self.page(session), (200, {"state": "credited", "balance": 100}))
        self.assertEqual(self.page(session), (200, {"state": "credited", "balance": 100}))
        self.assertEqual(self.webhook(session), "duplicate already_credited")
        self.assertEqual(self.balance("7"), 100)
        # The event has told which payment it was: a refund finds the page's purchase.
        self.deliver({"id": "evt_r", "type": "charge.refunded", "created": int(time.time()), "livemode": False, "data": {
            "object": {"id": "ch_1", "payment_intent": "pi_1", "amount": 900, "amount_refunded": 900}}})
        self.assertEqual(self.balance("7"), 0)

    def test_the_webhook_comes_first(self):
        session = self.open()
        self.assertEqual(self.webhook(session), "applied")
        self.assertEqual(self.page(session), (200, {"state": "credited", "balance": 100}))
        self.assertEqual(self.webhook(session, "evt_again"), "duplicate already_credited")

    def test_both_at_the_same_moment(self):
        sessions = [self.open() for _ in range(15)]
        start = threading.Barrier(3)

        def racing(call, session):
            start.wait()
            return call(session)

        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            for session in sessions:
                first, again, event = [pool.submit(racing, call, session)
                                       for call in (self.page, self.page, self.delivered_apart)]
                self.assertEqual((first.result()[0], again.result()[0]), (200, 200))
                self.assertIn(event.result(), ("applied", "duplicate already_credited"))
        self.assertEqual(self.balance("7"), 15 * 100)
        self.assertEqual(self.value("SELECT count(*) FROM billing.ledger"), 15)
        self.assertEqual(self.value("SELECT count(*) FROM billing.webhook_events WHERE status <> 'completed'"), 0)
        self.assertEqual(self.value("SELECT count(*) FROM billing.reconcile()"), 0)

    def delivered_apart(self, session):
        """A delivery through the double, that is on a connection of its own."""
        event = json.dumps({"id": f"evt_{session}", "type": "checkout.session.completed", "created": int(time.time()),
                            "livemode": False, "data": {"object": self.stripe.sessions[session]}})
        status, answer = request(f"{self.api.url}/rest/v1/rpc/stripe_webhook", "POST", event, {
            "Content-Type": "application/json", "apikey": self.api.token("anon"), "Stripe-Signature": self.sign(event)})
        self.assertEqual(status, 200, answer)
        return " ".join(filter(None, (answer["reason"], answer["detail"])))

    def test_the_browser_is_not_believed(self):
        session = self.open()
        self.assertEqual(self.page(session, user="8")[0], 404)
        self.assertEqual(self.page("cs_unknown")[0], 404)
        self.assertEqual(self.page("..%2Fcharges")[0], 400)
        self.assertEqual(request(f"{self.base}/success?session_id={session}")[0], 401)
        self.assertEqual(request(f"{self.base}/checkout?pack=toString", "POST", "", {"X-User-Id": "7"})[0], 404)
        self.stripe.sessions[session]["payment_status"] = "unpaid"
        self.assertEqual(self.page(session), (202, {"state": "payment pending"}))
        self.stripe.sessions[session].update(payment_status="paid", amount_subtotal=1)
        self.assertEqual(self.page(session)[0], 409)
        self.assertEqual(self.value("SELECT count(*) FROM billing.ledger"), 0)


if __name__ == "__main__":
    unittest.main()
