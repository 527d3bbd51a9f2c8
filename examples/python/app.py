"""Credits and the application's own rows in one transaction, by psycopg.

    python app.py buy USER ORDER PAYMENT        100 credits for 9.00 EUR that were paid as PAYMENT (stripe:pi_...)
    python app.py picture USER PICTURE TITLE    30 credits, and a row in pictures: both or neither
    python app.py balance USER

Connects as psql does (PGHOST, PGDATABASE and so on), as a role that has billing_service. schema.sql makes its table.
"""

import random
import sys
import time
from collections.abc import Callable
from typing import TypeVar

import psycopg
from psycopg.rows import class_row

from billing import MAX_TRIES, RETRYABLE, CreditOutcome, Refused, judged

T = TypeVar("T")
COLUMNS = "applied, reason, detail, entry_id, credits, balance"
PICTURE_COSTS = 30


def in_transaction(db: psycopg.Connection, work: Callable[[], T]) -> T:
    """Runs work in one transaction, and all of it again if Postgres ended it for another's sake."""
    for attempt in range(1, MAX_TRIES + 1):
        try:
            with db.transaction():
                return work()
        except psycopg.Error as error:
            if error.sqlstate not in RETRYABLE or attempt == MAX_TRIES:
                raise
            time.sleep(random.uniform(0, 0.02 * 2**attempt))
    raise AssertionError("unreachable")


def outcome(db: psycopg.Connection, call: str, parameters: dict[str, object]) -> CreditOutcome:
    with db.cursor(row_factory=class_row(CreditOutcome)) as cursor:
        [row] = cursor.execute(f"SELECT {COLUMNS} FROM {call}", parameters).fetchall()
        return row


def buy(db: psycopg.Connection, user: str, order: str, payment: str) -> bool:
    """Credits an order. The key is the order, so that whoever repeats this repeats the same request."""
    return in_transaction(db, lambda: judged(outcome(
        db,
        "apply_credit_purchase(%(user)s, 100, %(key)s, amount_minor => 900, currency => 'eur', source_ref => %(payment)s)",
        {"user": user, "key": f"order:{order}", "payment": payment})))


def make_picture(db: psycopg.Connection, user: str, picture: str, title: str) -> bool:
    """Spends credits and keeps the picture, in one transaction: a crash in between leaves neither."""

    def work() -> bool:
        new = judged(outcome(db, "spend_credits(%(user)s, %(credits)s, %(key)s)",
                             {"user": user, "credits": PICTURE_COSTS, "key": f"picture:{picture}"}))
        if new:
            # Whatever this raises takes the credits back as well.
            db.execute("INSERT INTO pictures (picture_id, user_id, title) VALUES (%s, %s, %s)", [picture, user, title])
        # Not new: the row was committed together with the spending.
        return new

    return in_transaction(db, work)


def balance(db: psycopg.Connection, user: str) -> int | None:
    """What can be spent now; None for somebody unknown."""
    row = db.execute("SELECT available FROM credit_balance(%s)", [user]).fetchone()
    return row[0] if row else None


def main(arguments: list[str]) -> int:
    with psycopg.connect(autocommit=True) as db:
        try:
            match arguments:
                case ["buy", user, order, payment]:
                    print("credited" if buy(db, user, order, payment) else "credited before")
                case ["picture", user, picture, title]:
                    print("made" if make_picture(db, user, picture, title) else "made before")
                case ["balance", user]:
                    print(balance(db, user))
                case _:
                    print(__doc__, file=sys.stderr)
                    return 2
        except Refused as refused:
            print("not enough credits" if refused.detail == "insufficient_credits" else f"refused: {refused}")
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
