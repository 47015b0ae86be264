"""Top-ups in USDC by Coinbase Business Checkouts: a page of theirs, a dollar is a dollar."""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation
from typing import Any
from uuid import UUID

import msgspec

from brain.adapters.payments.coinbase.http import CoinbaseHttp
from brain.payments import (
    Away,
    Begun,
    Forged,
    Hint,
    Order,
    PaymentRefused,
    PaymentState,
    RefundOrder,
    RefundSeen,
    Reversal,
    ReversalKind,
    Seen,
)
from kernel.clock import NS, Clock

COIN, NETWORK = "USDC", "base"
OLD_SECONDS = 300
SIGNATURE = "x-hook0-signature"
_STATES = {
    "ACTIVE": PaymentState.NEEDS_PAYER,
    "PROCESSING": PaymentState.PENDING,
    "COMPLETED": PaymentState.SUCCEEDED,
    "REFUNDED": PaymentState.SUCCEEDED,
    "PARTIALLY_REFUNDED": PaymentState.SUCCEEDED,
    "EXPIRED": PaymentState.FAILED,
    "DEACTIVATED": PaymentState.FAILED,
    "FAILED": PaymentState.FAILED,
}
_REFUNDS = {
    "PENDING": PaymentState.PENDING,
    "COMPLETED": PaymentState.SUCCEEDED,
    "FAILED": PaymentState.FAILED,
}
_OWN = re.compile(r"refund_[0-9a-zA-Z]{1,40}\b")
_WHY = {"EXPIRED": "Nobody paid in time.", "DEACTIVATED": "It was called off."}


class CoinbaseCollector:
    """A checkout is made once for an order: its id gives the idempotency key."""

    name = "coinbase"

    def __init__(self, http: CoinbaseHttp) -> None:
        self._http = http

    async def begin(self, order: Order) -> Begun:
        if order.currency != "USD":
            raise PaymentRefused("Crypto top-ups are counted in dollars.")
        body: dict[str, Any] = {
            "amount": _dollars(order.amount_minor),
            "currency": COIN,
            "network": NETWORK,
            "description": order.description[:200],
            "metadata": {"order": str(order.id), "account": str(order.account)},
        }
        if order.return_url is not None and order.return_url.startswith("https://"):
            body["successRedirectUrl"] = f"{order.return_url}?topup={order.id}&paid=1"
            body["failRedirectUrl"] = f"{order.return_url}?topup={order.id}"
        made = await self._http.call("POST", "/checkouts", body, once=_key(order.id))
        if made is None or not isinstance(made.get("id"), str):
            raise Away("Coinbase does not answer in its usual words.")
        state = _STATES.get(str(made.get("status")), PaymentState.PENDING)
        return Begun(made["id"], state, url=_text(made.get("url")))

    async def look(self, reference: str) -> Seen:
        found = await self._http.call("GET", f"/checkouts/{reference}")
        if found is None:
            return Seen(PaymentState.UNKNOWN, 0, "")
        status = str(found.get("status"))
        amount = _cents(found.get("amount"))
        if found.get("currency") != COIN or amount is None:
            raise Away("Coinbase does not answer in its usual words.", internal=status[:40])
        settlement = found.get("settlement")
        fee = _cents(settlement.get("feeAmount")) if isinstance(settlement, dict) else None
        refunded = amount if status == "REFUNDED" else 0
        if status == "PARTIALLY_REFUNDED":
            refunded = _cents(found.get("refundedAmount")) or 0
        state = _STATES.get(status, PaymentState.PENDING)
        return Seen(
            state,
            amount,
            "USD",
            reason=_WHY.get(status, "Coinbase says that it failed.")
            if state is PaymentState.FAILED
            else None,
            refunded_minor=refunded,
            reversals=_reversals(found.get("refunds")),
            fee_minor=fee,
            url=_text(found.get("url")),
        )

    async def cancel(self, reference: str) -> None:
        """A checkout that is paid already refuses, and stays paid."""
        try:
            await self._http.call("POST", f"/checkouts/{reference}/deactivate", {})
        except PaymentRefused:
            return

    async def refund(self, refund: RefundOrder) -> RefundSeen:
        """Our own id leads its reason: a look at the checkout tells the two of them together."""
        body = {
            "amount": _dollars(refund.amount_minor),
            "currency": COIN,
            "reason": f"{refund.id} {refund.reason}"[:500],
        }
        path = f"/checkouts/{refund.reference}/refund"
        made = await self._http.call("POST", path, body, once=_key(refund.id))
        one = None if made is None else made.get("refund")
        if not isinstance(one, dict) or not isinstance(one.get("id"), str):
            raise Away("Coinbase does not answer in its usual words.")
        return RefundSeen(one["id"], _REFUNDS.get(str(one.get("status")), PaymentState.PENDING))

    async def close(self) -> None:
        await self._http.close()


class CoinbaseHints:
    """Webhooks, signed over the time, the headers that the signature names, and the body."""

    name = "coinbase"

    def __init__(self, secret: str, clock: Clock) -> None:
        self._secret = secret.encode()
        self._clock = clock

    def read(self, headers: Mapping[str, str], body: bytes) -> Hint | None:
        given = {name.lower(): value for name, value in headers.items()}
        self._check(given, body)
        try:
            found = msgspec.json.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return None
        kind = found.get("eventType") if isinstance(found, dict) else None
        if not isinstance(kind, str) or not kind.startswith("checkout."):
            return None
        metadata = found.get("metadata")
        order = metadata.get("order") if isinstance(metadata, dict) else None
        event = given.get("x-event-id") or hashlib.sha256(body).hexdigest()
        return Hint(event[:100], kind[:60], _text(found.get("id")), _text(order))

    def _check(self, headers: Mapping[str, str], body: bytes) -> None:
        parts = dict(
            part.strip().partition("=")[::2] for part in headers.get(SIGNATURE, "").split(",")
        )
        at, names = parts.get("t", ""), parts.get("h", "")
        if not at.isdecimal() or len(at) > 12 or not parts.get("v1"):
            raise Forged("The message has no signature of Coinbase.")
        if abs(self._clock.now_ns() // NS - int(at)) > OLD_SECONDS:
            raise Forged("The message is too old.")
        values = ".".join(headers.get(name, "") for name in names.lower().split())
        text = f"{at}.{names}.{values}.".encode("utf-8", "replace") + body
        good = hmac.new(self._secret, text, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(good.encode(), parts["v1"].encode("utf-8", "replace")):
            raise Forged("The message is not signed by Coinbase.")


def _reversals(told: object) -> tuple[Reversal, ...]:
    """The refunds of a checkout; none where it does not name them all in its coin: then its
    totals count."""
    found = []
    for one in told if isinstance(told, list) else []:
        known = isinstance(one, dict) and isinstance(one.get("id"), str)
        amount = _cents(one.get("amount")) if known and one.get("currency") == COIN else None
        if amount is None:
            return ()
        state = _REFUNDS.get(str(one.get("status")), PaymentState.PENDING)
        own = _OWN.match(str(one.get("reason")))
        found.append(
            Reversal(
                reference=one["id"],
                kind=ReversalKind.REFUND,
                amount_minor=amount,
                stands=state is not PaymentState.FAILED,
                refund_id=None if own is None else own[0],
                settled=state is not PaymentState.PENDING,
                reason=f"refund {state.value}",
            )
        )
    return tuple(found)


def _dollars(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"


def _key(order: str) -> str:
    digest = hashlib.sha256(f"coinbase {order}".encode()).digest()
    return str(UUID(bytes=digest[:16], version=4))


def _text(value: object) -> str | None:
    return value[:500] if isinstance(value, str) and value else None


def _cents(value: object) -> int | None:
    """Dollars as text, in cents; what is less than a cent counts as one."""
    if not isinstance(value, str):
        return None
    try:
        cents = (Decimal(value) * 100).to_integral_value(rounding=ROUND_CEILING)
    except InvalidOperation:
        return None
    return int(cents) if cents.is_finite() and abs(cents) < 2**53 else None
