"""What both programs share: the answer to a call that writes to the ledger, and what an application makes of it."""

from dataclasses import dataclass
from typing import Literal, assert_never

Reason = Literal["applied", "replay", "duplicate", "invalid", "ignored", "failed"]

# Nothing was written, and the same call may simply be made again: serialization failure, deadlock, lock timeout.
RETRYABLE = frozenset({"40001", "40P01", "55P03"})
MAX_TRIES = 5


@dataclass(frozen=True)
class CreditOutcome:
    """credit_outcome, as far as it is used here. What may be null is null in a refusal."""

    applied: bool
    reason: Reason
    detail: str | None
    entry_id: int | None
    credits: int | None
    balance: int | None


class Refused(Exception):
    """The answer is no. `detail` is one of the codes in docs/reasons.md; insufficient_credits is the everyday one."""

    def __init__(self, outcome: CreditOutcome) -> None:
        super().__init__(outcome.detail or outcome.reason)
        self.detail = outcome.detail


def judged(outcome: CreditOutcome) -> bool:
    """Whether this call did it; False if it stood already. Raises Refused. A type checker sees a forgotten reason."""
    match outcome.reason:
        case "applied":
            return True
        case "replay":  # this very request, by its key
            return False
        case "duplicate":  # another request for the same payment, the webhook most often
            return False
        case "invalid" | "ignored" | "failed":
            raise Refused(outcome)
        case _:
            assert_never(outcome.reason)
