"""What billing_rpc leaves to a clock: events that are due are tried again, subscriptions that it asks for are fetched
from Stripe, and, where this role may, credits that ran out are written off and old bodies of events dropped.

Configured by the environment:
  DATABASE_URL     the database, as a role that is a member of billing_service
  STRIPE_API_KEY   a restricted key that may read subscriptions is enough; without one nothing is fetched
  STRIPE_API_BASE  where Stripe's API is, if not at Stripe: for tests
  POLL_SECONDS     pause between two rounds, 30 if not set
  PURGE_AFTER      an interval such as '90 days': what is kept of events completed longer ago than that is dropped
"""

import argparse
import collections
import logging
import os
import random
import signal
import sys
import threading
import time

import psycopg
import stripe

MAX_PAUSE_SECONDS = 300
STRIPE_TIMEOUT_SECONDS = 20
# The most that pending_refetches gives: what has to be set aside must not hide the others.
MAX_REQUESTS = 1000
MAX_EVENTS = 100
MAX_HOUSEKEEPING = 1000
MAX_TRIES = 5
RETRYABLE = (psycopg.errors.SerializationFailure, psycopg.errors.DeadlockDetected, psycopg.errors.LockNotAvailable)

log = logging.getLogger("billing_worker")


def call(db, statement, parameters=()):
    """Runs one statement in a transaction of its own, again if Postgres ended it for another's sake."""
    for attempt in range(1, MAX_TRIES + 1):
        try:
            return db.execute(statement, parameters).fetchall()
        except RETRYABLE as error:
            if attempt == MAX_TRIES:
                raise
            log.info("trying again after %s", error.sqlstate)
            time.sleep(random.uniform(0, 0.05 * 2**attempt))


class Worker:
    def __init__(self, database_url, stripe_client, poll_seconds, purge_after=None):
        self.database_url = database_url
        self.stripe = stripe_client
        self.poll_seconds = poll_seconds
        self.purge_after = purge_after
        self.stop = threading.Event()
        # Subscriptions that Stripe or the database refused, and the request that was answered so: they are
        # left alone until they are asked for anew.
        self.refused = {}

    def run(self, once):
        """Works until it is told to stop; the exit status."""
        failures = 0
        while not self.stop.is_set():
            done = self.try_round()
            if once:
                return 0 if done and not self.refused else 1
            failures = 0 if done else failures + 1
            self.stop.wait(self.pause(failures))
        log.info("stopped")
        return 0

    def pause(self, failures):
        """Seconds to the next round: more after each failure in a row, and never the same for two workers."""
        seconds = min(self.poll_seconds * 2 ** min(failures, 16), max(self.poll_seconds, MAX_PAUSE_SECONDS))
        return seconds * random.uniform(0.5, 1) if failures else seconds

    def try_round(self):
        """One round; whether it came to its end. Whatever it did not come to is still there for the next."""
        try:
            # A connection for each round: nothing to mend after one was lost. No prepared statements, so
            # that a pooler may stand in between.
            with psycopg.connect(self.database_url, autocommit=True, prepare_threshold=None) as db:
                done = collections.Counter()
                self.retry_events(db, done)
                if self.stripe:
                    self.answer_requests(db, done)
                self.keep_house(db, done)
            if done:
                log.info("round: %s", ", ".join(f"{what} {n}" for what, n in done.items()))
            return True
        except stripe.StripeError as error:
            log.error("Stripe does not answer: %s, HTTP %s, request %s; the requests stay on the queue",
                      type(error).__name__, error.http_status, error.request_id)
        except psycopg.Error as error:
            log.error("the database does not answer: SQLSTATE %s, %s", error.sqlstate, error)
        return False

    def retry_events(self, db, done):
        """Has everything processed that is due: recorded and failed events, and claims that ran out."""
        tried = MAX_EVENTS
        while tried >= MAX_EVENTS and not self.stop.is_set():
            outcomes = call(db, "SELECT provider, event_id, reason, detail FROM retry_webhook_events(%s)",
                            [MAX_EVENTS])
            for provider, event_id, reason, detail in outcomes:
                level = logging.WARNING if reason == "failed" or detail == "dead" else logging.INFO
                log.log(level, "event %s %s: %s %s", provider, event_id, reason, detail or "")
                done[f"events {reason}"] += 1
            tried = len(outcomes)

    def answer_requests(self, db, done):
        """Hands in the truth on every subscription that is asked for."""
        requests = call(db, "SELECT object_id, requested_at FROM pending_refetches(%s)"
                            " WHERE object_type = 'subscription'", [MAX_REQUESTS])
        still_open = set(requests)
        self.refused = {key: at for key, at in self.refused.items() if (key, at) in still_open}
        for subscription_id, requested_at in requests:
            if self.stop.is_set():
                return
            if subscription_id in self.refused:
                continue
            if self.answer(db, subscription_id):
                done["subscriptions"] += 1
            else:
                self.refused[subscription_id] = requested_at

    def answer(self, db, subscription_id):
        """Fetches one subscription and hands it in; false if that is refused and would be refused again."""
        # Before fetching, so that whatever happens meanwhile counts as later; by the database's clock, which
        # also dates the requests.
        [(observed_at,)] = call(db, "SELECT clock_timestamp()")
        try:
            subscription = self.stripe.v1.subscriptions.retrieve(subscription_id)
        except stripe.InvalidRequestError as error:
            # Not taken for the end of the subscription: a key of another account or mode hears the same.
            log.warning("%s: Stripe refused with HTTP %s: %s", subscription_id, error.http_status, error.user_message)
            return False
        [(reason, detail, before, after)] = call(
            db, "SELECT reason, detail, previous_status, status FROM apply_subscription_update(%s::jsonb, %s)",
            [subscription.last_response.body, observed_at])
        level = logging.WARNING if reason == "invalid" else logging.INFO
        log.log(level, "%s: %s %s, %s to %s", subscription_id, reason, detail or "", before, after)
        return reason != "invalid"

    def keep_house(self, db, done):
        """Runs the operators' functions that this role was granted, a bounded part at a time."""
        for what, function, arguments in (
            ("accounts settled", "billing.expire_credits(integer)", [MAX_HOUSEKEEPING]),
            ("events purged", "billing.purge_webhook_events(interval, integer)", [self.purge_after, MAX_HOUSEKEEPING]),
        ):
            if None in arguments or not self.may(db, function):
                continue
            statement = f"SELECT {function.partition('(')[0]}({', '.join(['%s'] * len(arguments))})"
            while not self.stop.is_set():
                [(n,)] = call(db, statement, arguments)
                if n == 0:
                    break
                done[what] += n

    @staticmethod
    def may(db, function):
        [(granted,)] = call(db, "SELECT has_schema_privilege('billing', 'USAGE') AND has_function_privilege(p.oid, 'EXECUTE')"
                                " FROM (SELECT to_regprocedure(%s)) AS p (oid)", [function])
        return bool(granted)


def stripe_client(key, base):
    if not key:
        return None
    return stripe.StripeClient(
        key,
        base_addresses={"api": base} if base else None,
        http_client=stripe.RequestsClient(timeout=STRIPE_TIMEOUT_SECONDS),
    )


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--once", action="store_true",
                        help="one round, for cron; exit status 1 if something could not be done")
    options = parser.parse_args(arguments)
    if not os.environ.get("DATABASE_URL"):
        parser.error("set DATABASE_URL")
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    logging.getLogger("stripe").setLevel(logging.WARNING)

    client = stripe_client(os.environ.get("STRIPE_API_KEY"), os.environ.get("STRIPE_API_BASE"))
    if client is None:
        log.warning("STRIPE_API_KEY is not set: subscriptions are not fetched")
    worker = Worker(os.environ["DATABASE_URL"], client, float(os.environ.get("POLL_SECONDS") or 30),
                    os.environ.get("PURGE_AFTER") or None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: worker.stop.set())
    return worker.run(options.once)


if __name__ == "__main__":
    sys.exit(main())
