"""What each number of the sandbox does, as documented and as observed; any other succeeds at once.

The documented reasons of collections and of transfers are in another order. What is documented
for transfers ends with …57; from there on the order of collections is carried on.
"""

from __future__ import annotations

from dataclasses import dataclass

FIRST = 46733123450
DELAY_SECONDS = 25.0


@dataclass(frozen=True)
class Fate:
    """``after_seconds`` None: the last word never comes."""

    status: str
    reason: str = ""
    after_seconds: float | None = 0.0
    before: str = "PENDING"


GOOD = Fate("SUCCESSFUL")
_COLLECTION = (
    "PAYER_NOT_FOUND",
    "PAYEE_NOT_ALLOWED_TO_RECEIVE",
    "NOT_ALLOWED",
    "NOT_ALLOWED_TARGET_ENVIRONMENT",
    "INVALID_CALLBACK_URL_HOST",
    "INVALID_CURRENCY",
    "INTERNAL_PROCESSING_ERROR",
    "SERVICE_UNAVAILABLE",
    "COULD_NOT_PERFORM_TRANSACTION",
)
_TRANSFER = ("NOT_ENOUGH_FUNDS", "PAYER_LIMIT_REACHED", "PAYEE_NOT_FOUND", *_COLLECTION[1:])
_DOCUMENTED = (
    Fate("FAILED", "INTERNAL_PROCESSING_ERROR"),
    Fate("REJECTED", "APPROVAL_REJECTED"),
    Fate("TIMEOUT", "EXPIRED"),
    Fate("SUCCESSFUL", after_seconds=None),
    Fate("SUCCESSFUL", after_seconds=DELAY_SECONDS),
)
_OBSERVED = (
    Fate("FAILED", "INTERNAL_PROCESSING_ERROR"),
    Fate("FAILED", "APPROVAL_REJECTED"),
    Fate("FAILED", "EXPIRED"),
    Fate("SUCCESSFUL", after_seconds=None),
    Fate("SUCCESSFUL", after_seconds=DELAY_SECONDS, before="CREATED"),
)


def fate(product: str, number: str, *, observed: bool) -> Fate:
    """What becomes of a request about ``number``."""
    place = int(number) - FIRST if number.isdigit() else -1
    first = _OBSERVED if observed else _DOCUMENTED
    if 0 <= place < len(first):
        return first[place]
    reasons = _COLLECTION if product == "collection" else _TRANSFER
    place -= len(first)
    return Fate("FAILED", reasons[place]) if 0 <= place < len(reasons) else GOOD
