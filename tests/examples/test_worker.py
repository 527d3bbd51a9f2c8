"""examples/worker against a real database and a fake of the one endpoint of Stripe that it uses."""

import json
import signal
import sys
import time
import unittest

from support import EXAMPLES, ExampleCase, checkout, superuser

API_KEY = "sk_test_examples"


def subscription(subscription_id, status, **more):
    return {"id": subscription_id, "object": "subscription", "customer": "cus_1", "status": status, **more}


class FakeStripe:
    """GET /v1/subscriptions/{id}: what stands in `subscriptions`, else Stripe's 404."""

    def __init__(self):
        self.subscriptions = {}
        self.asked = []
        self.before_answer = lambda: None

    def __call__(self, _method, path, headers, _body):
        status, body = self.answer(path, headers.get("Authorization"))
        return status, {"Content-Type": "application/json"}, json.dumps(body).encode()

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


class Worker(ExampleCase):
    def setUp(self):
        super().setUp()
        self.stripe = FakeStripe()
        self.base = self.serve(self.stripe)
        self.events = 0

    def report(self, subscription_id, status):
        """Delivers an event about a subscription. Each is a second later than the one before."""
        self.events += 1
        return self.deliver({
            "id": f"evt_{self.events}", "object": "event", "type": "customer.subscription.updated",
            "created": int(time.time()) - 100 + self.events, "livemode": False,
            "data": {"object": subscription(subscription_id, status)}})

    def forbidden_transition(self, subscription_id):
        """Leaves a subscription canceled here, and an event on the queue that says otherwise."""
        self.assertEqual(self.report(subscription_id, "canceled"), "applied customer_unlinked")
        self.assertEqual(self.report(subscription_id, "active"), "ignored transition_not_allowed")
        self.assertIn(subscription_id, self.queue())

    def queue(self):
        return [row[0] for row in self.db.execute("SELECT object_id FROM pending_refetches()")]

    def status(self, subscription_id):
        row = self.db.execute("SELECT status FROM billing.subscriptions WHERE subscription_id = %s", [subscription_id])
        return row.fetchone()[0]

    def waiting(self):
        """How many workers wait for somebody's lock."""
        return self.value("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
                          " AND usename = 'billing_worker' AND wait_event_type = 'Lock'")

    def work(self, *arguments, **environment):
        return self.start(sys.executable, EXAMPLES / "worker" / "worker.py", *arguments, **{
            "DATABASE_URL": f"dbname={self.database} user=billing_worker", "STRIPE_API_KEY": API_KEY,
            "STRIPE_API_BASE": self.base, **environment})

    def ended(self, worker):
        """The exit status, and what was said."""
        status, _, said = self.finish(worker)
        return status, said

    def once(self, **environment):
        return self.ended(self.work("--once", **environment))

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
        status, said = self.once(STRIPE_API_BASE="http://127.0.0.1:1")
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
        worker = self.work(POLL_SECONDS="0.05")
        self.wait_for(lambda: self.queue() == ["sub_gone"], "the other one is answered")
        self.report("sub_3", "incomplete_expired")
        self.report("sub_3", "active")
        self.wait_for(lambda: "sub_3" in self.stripe.asked, "a later round")
        self.assertEqual(self.stripe.asked.count("sub_gone"), 1, "one request is asked for once")
        self.report("sub_gone", "trialing")
        self.wait_for(lambda: self.stripe.asked.count("sub_gone") == 2, "another request is another question")
        worker.terminate()
        status, said = self.ended(worker)
        self.assertEqual(status, 0, said)
        self.assertIn("sub_gone: Stripe refused with HTTP 404: No such subscription", said)
        self.assertEqual(self.status("sub_gone"), "canceled")
        status, _ = self.once()
        self.assertEqual(status, 1, "one round says that something is left to do")

    def test_asked_again_meanwhile_stays_on_the_queue(self):
        self.forbidden_transition("sub_1")
        self.stripe.subscriptions["sub_1"] = subscription("sub_1", "canceled")
        self.stripe.before_answer = lambda: self.assertEqual(
            self.report("sub_1", "paused"), "ignored transition_not_allowed")
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
            worker = self.work("--once", PGOPTIONS="-c default_transaction_isolation=serializable")
            self.wait_for(lambda: self.waiting() == 1, "the worker waits for the rival")
            rival.execute("COMMIT")
        status, said = self.ended(worker)
        self.assertEqual(status, 0, said)
        self.assertIn("trying again after 40001", said)
        self.assertEqual((self.status("sub_1"), self.queue()), ("active", []))

    def test_events_that_are_due_are_tried_again(self):
        self.db.execute("SET billing_rpc.webhook_mode = 'record'")
        self.assertEqual(self.report("sub_1", "trialing"), "ignored recorded")
        status, said = self.once()
        self.assertEqual(status, 0, said)
        self.assertIn("event stripe evt_1: applied", said)
        self.assertEqual(self.status("sub_1"), "trialing")

    def test_it_stops_when_told_to(self):
        for number in (signal.SIGTERM, signal.SIGINT):
            self.forbidden_transition(f"sub_{number}")
            self.stripe.subscriptions[f"sub_{number}"] = subscription(f"sub_{number}", "active")
            worker = self.work(POLL_SECONDS="600")
            self.wait_for(lambda: self.queue() == [], "the first round is over")
            worker.send_signal(number)
            status, said = self.ended(worker)
            self.assertEqual(status, 0, said)
            self.assertTrue(said.endswith("INFO stopped\n"), said)

    def test_what_is_not_set_is_named(self):
        status, said = self.once(DATABASE_URL="")
        self.assertEqual(status, 2)
        self.assertIn("set DATABASE_URL", said)

    def test_without_a_key_events_are_tried_all_the_same(self):
        self.forbidden_transition("sub_1")
        status, said = self.once(STRIPE_API_KEY="")
        self.assertEqual(status, 0, said)
        self.assertIn("STRIPE_API_KEY is not set", said)
        self.assertEqual((self.stripe.asked, self.queue()), ([], ["sub_1"]))

    def old_things(self):
        """Credits that have run out, and a completed event of which the answer is kept."""
        self.db.execute("SELECT grant_credits('7', 5, 'k', expires_at => now() - interval '1 day')")
        self.report("sub_1", "trialing")
        self.assertEqual(self.old_things_left(), (5, 1))

    def old_things_left(self):
        return self.balance("7"), self.value("SELECT count(result) FROM billing.webhook_events")

    def test_housekeeping_is_done_where_it_is_granted(self):
        self.old_things()
        self.assertEqual(self.once(PURGE_AFTER="0 seconds")[0], 0)
        self.assertEqual(self.old_things_left(), (5, 1), "nothing was granted")
        self.db.execute(
            "GRANT USAGE ON SCHEMA billing TO billing_worker; GRANT EXECUTE ON FUNCTION billing.expire_credits(integer),"
            " billing.purge_webhook_events(interval, integer) TO billing_worker")
        status, said = self.once()
        self.assertEqual(status, 0, said)
        self.assertIn("round: accounts settled 1\n", said)
        self.assertEqual(self.old_things_left(), (0, 1), "no time was named after which to purge")
        status, said = self.once(PURGE_AFTER="0 seconds")
        self.assertIn("round: events purged 1\n", said)
        self.assertEqual(self.old_things_left(), (0, 0))

    def test_the_same_by_pg_cron(self):
        # A double of pg_cron's schedule(): it keeps the job, by name as the real one does, and runs its command once.
        self.db.execute("""
            CREATE SCHEMA cron;
            CREATE TABLE cron.job (name text PRIMARY KEY, schedule text CHECK (schedule ~ '^([0-9*]+ ){4}[0-9*]+$'), command text);
            CREATE FUNCTION cron.schedule(job_name text, schedule text, command text) RETURNS void LANGUAGE plpgsql AS $$
            BEGIN
                INSERT INTO cron.job VALUES (job_name, schedule, command)
                ON CONFLICT (name) DO UPDATE SET schedule = excluded.schedule, command = excluded.command;
                EXECUTE command;
            END $$""")
        self.db.execute("SELECT grant_credits('7', 5, 'k', expires_at => now() - interval '1 day')")
        self.db.execute("SET billing_rpc.webhook_mode = 'record'")
        self.report("sub_1", "trialing")
        self.db.execute("RESET billing_rpc.webhook_mode")
        for _ in range(2):
            self.db.execute((EXAMPLES / "worker" / "cron.sql").read_text())
        self.assertEqual((self.status("sub_1"), self.balance("7")), ("trialing", 0))
        self.assertEqual(self.value("SELECT count(*) FROM cron.job"), 3)

    def test_several_at_once_share_the_work(self):
        self.db.execute("SET billing_rpc.webhook_mode = 'record'")
        for n in range(300):
            self.deliver(checkout(f"evt_{n}", f"cs_{n}", payment_intent=f"pi_{n}",
                                  customer_details={"email": "ada@example.com"}))
        with superuser(self.database) as rival:
            rival.execute("BEGIN; LOCK TABLE billing.webhook_events")
            workers = [self.work("--once") for _ in range(3)]
            self.wait_for(lambda: self.waiting() == 3, "all of them are at it")
            rival.execute("COMMIT")
        ended = [self.ended(worker) for worker in workers]
        # One event may have been busy for a worker that came to its end; the next round has it.
        self.assertEqual([status for status, _ in [*ended, self.once()]], [0, 0, 0, 0])
        self.assertEqual(self.balance("7"), 300 * 100)
        self.assertEqual(self.value("SELECT count(*) FROM billing.webhook_events WHERE status <> 'completed'"), 0)
        for _, said in ended:
            self.assertNotIn("ada@example.com", said)
            self.assertIn("round: events applied ", said, "everyone had a part of it")


if __name__ == "__main__":
    unittest.main()
