"""Pure: MoMo's words in ours: states, reasons, amounts as text."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation
from enum import StrEnum

from brain.billing import DECIMALS

NOTE_MAX = 160
# What production takes; the sandbox knows EUR alone.
CURRENCIES = frozenset(
    {"EUR", "UGX", "GHS", "XAF", "XOF", "RWF", "ZMW", "ZAR", "SZL", "GNF", "LRD", "NGN"}
)


class Status(StrEnum):
    """``UNCLEAR``: a word that we do not know; it may yet become one that we do."""

    OPEN = "open"
    PAID = "paid"
    FAILED = "failed"
    UNCLEAR = "unclear"


_STATUS = {
    "PENDING": Status.OPEN,
    "CREATED": Status.OPEN,
    "SUCCESSFUL": Status.PAID,
    "FAILED": Status.FAILED,
    "REJECTED": Status.FAILED,
    "TIMEOUT": Status.FAILED,
}
# These say that the request as such was refused, when they come in place of an acceptance.
REFUSALS = frozenset(
    {
        "PAYER_NOT_FOUND",
        "PAYEE_NOT_FOUND",
        "NOT_ENOUGH_FUNDS",
        "PAYER_LIMIT_REACHED",
        "PAYEE_NOT_ALLOWED_TO_RECEIVE",
        "NOT_ALLOWED",
        "NOT_ALLOWED_TARGET_ENVIRONMENT",
        "INVALID_CALLBACK_URL_HOST",
        "INVALID_CURRENCY",
        "SENDER_ACCOUNT_NOT_ACTIVE",
    }
)
# Of these the one at fault is our own account there: it is no answer about the order.
OURS = frozenset(
    {"NOT_ENOUGH_FUNDS", "NOT_ALLOWED_TARGET_ENVIRONMENT", "INVALID_CALLBACK_URL_HOST"}
)
_SAID = {
    "PAYER_NOT_FOUND": "there is no wallet with this number",
    "PAYEE_NOT_FOUND": "there is no wallet with this number",
    "NOT_ENOUGH_FUNDS": "the wallet has too little money",
    "PAYER_LIMIT_REACHED": "the wallet's limit is reached",
    "PAYEE_NOT_ALLOWED_TO_RECEIVE": "this wallet may not receive money",
    "NOT_ALLOWED": "the wallet does not allow it",
    "PAYMENT_NOT_APPROVED": "it was not approved on the phone",
    "APPROVAL_REJECTED": "it was refused on the phone",
    "EXPIRED": "nobody approved it on the phone in time",
    "TRANSACTION_CANCELED": "it was called off",
    "COULD_NOT_PERFORM_TRANSACTION": "the PIN was not entered in time",
    "SENDER_ACCOUNT_NOT_ACTIVE": "the wallet is not active",
}
# The same wallet will not do at the next try either.
HARD = frozenset({"PAYER_NOT_FOUND", "PAYEE_NOT_FOUND", "NOT_ALLOWED", "SENDER_ACCOUNT_NOT_ACTIVE"})


def status_of(word: object) -> Status:
    return _STATUS.get(word, Status.UNCLEAR) if isinstance(word, str) else Status.UNCLEAR


def said(code: str) -> str:
    """A reason for people."""
    known = _SAID.get(code)
    return known or (f"MoMo says {code.replace('_', ' ').lower()}" if code else "MoMo says no")


def amount_text(minor: int, currency: str) -> str:
    """As MoMo wants it: a whole number as text where the currency has no decimals."""
    return str(Decimal(minor).scaleb(-DECIMALS[currency]))


def amount_minor(text: object, currency: object) -> int | None:
    """What it tells, in minor units; None where that cannot be read."""
    if not isinstance(text, str) or not isinstance(currency, str) or currency not in DECIMALS:
        return None
    try:
        minor = Decimal(text).scaleb(DECIMALS[currency])
    except InvalidOperation:
        return None
    whole = minor.is_finite() and minor == minor.to_integral_value()
    return int(minor) if whole and abs(minor) < 2**63 else None


def note(text: str) -> str:
    """A note that it takes: apostrophes and the like are turned away."""
    kept = "".join(c if c.isascii() and (c.isalnum() or c in " .,:-") else " " for c in text)
    return " ".join(kept.split())[:NOTE_MAX]
