"""The same through PostgREST, by supabase-py: no connection to Postgres, and each call a transaction of its own.

    python rest.py buy USER ORDER PAYMENT
    python rest.py picture USER PICTURE
    python rest.py show USER

SUPABASE_URL and SUPABASE_SERVICE_KEY say where, and as whom: a role that has billing_service.
"""

import json
import os
import random
import sys
import time
from typing import Any, TypedDict

import httpx
from postgrest.exceptions import APIError
from supabase import Client, create_client

from billing import MAX_TRIES, RETRYABLE, CreditOutcome, Refused, judged


class CreditBalance(TypedDict):
    customer_id: str | None
    credit_type: str | None
    balance: int | None
    held: int | None
    available: int | None
    next_expiry_at: str | None
    next_expiry_credits: int | None


def call(client: Client, function: str, **arguments: object) -> Any:
    """One call: a row as a dict, a list of rows as a list. Made again where nothing was written, or may have been: the
    idempotency key makes it the same request."""
    for attempt in range(1, MAX_TRIES + 1):
        try:
            return client.rpc(function, arguments).execute().data
        except (APIError, httpx.TransportError) as error:
            again = isinstance(error, httpx.TransportError) or error.code in RETRYABLE
            if not again or attempt == MAX_TRIES:
                raise
            time.sleep(random.uniform(0, 0.02 * 2**attempt))
    raise AssertionError("unreachable")


def outcome(row: dict[str, Any]) -> CreditOutcome:
    return CreditOutcome(**{field: row[field] for field in CreditOutcome.__dataclass_fields__})


def buy(client: Client, user: str, order: str, payment: str) -> bool:
    return judged(outcome(call(client, "apply_credit_purchase", user_id=user, credits=100, idempotency_key=f"order:{order}",
                               amount_minor=900, currency="eur", source_ref=payment)))


def spend_on_picture(client: Client, user: str, picture: str) -> bool:
    return judged(outcome(call(client, "spend_credits", user_id=user, credits=30, idempotency_key=f"picture:{picture}")))


def show(client: Client, user: str) -> dict[str, object]:
    balance: CreditBalance = call(client, "credit_balance", user_id=user)
    history = call(client, "credit_history", user_id=user, max_rows=10)
    return {"available": balance["available"], "entries": [[entry["kind"], entry["credits"]] for entry in history]}


def main(arguments: list[str]) -> int:
    client = create_client(os.environ["SUPABASE_URL"], os.environ["SUPABASE_SERVICE_KEY"])
    try:
        match arguments:
            case ["buy", user, order, payment]:
                print("credited" if buy(client, user, order, payment) else "credited before")
            case ["picture", user, picture]:
                print("spent" if spend_on_picture(client, user, picture) else "spent before")
            case ["show", user]:
                print(json.dumps(show(client, user)))
            case _:
                print(__doc__, file=sys.stderr)
                return 2
    except Refused as refused:
        print("not enough credits" if refused.detail == "insufficient_credits" else f"refused: {refused}")
        return 3
    except (APIError, httpx.TransportError) as error:
        print(f"no answer: {error.code if isinstance(error, APIError) else type(error).__name__}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
