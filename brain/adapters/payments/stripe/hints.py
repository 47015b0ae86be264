"""Reads Stripe's webhooks. Stripe's library checks the signature; our clock checks the time."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import stripe

from brain.payments import Forged, Hint, HintReader
from kernel.clock import Clock

TOLERANCE_SECONDS = 300
HEADER = "stripe-signature"


class StripeHints(HintReader):
    name = "stripe"

    def __init__(self, secret: str, clock: Clock) -> None:
        self._secret = secret
        self._clock = clock

    def read(self, headers: Mapping[str, str], body: bytes) -> Hint | None:
        event = self.verified(headers, body)
        kind, event_id = event.get("type"), event.get("id")
        found = event.get("data")
        told = found.get("object") if isinstance(found, dict) else None
        if not (isinstance(kind, str) and isinstance(event_id, str) and isinstance(told, dict)):
            raise Forged("This is signed, and is no event.")
        return _hint(event_id[:200], kind, told)

    def verified(self, headers: Mapping[str, str], body: bytes) -> dict[str, Any]:
        """The event, once its signature and its age are in order."""
        header = headers.get(HEADER, "")
        try:
            text = body.decode()
            stripe.WebhookSignature.verify_header(text, header, self._secret)
            signed = _signed_at(header)
            event = json.loads(text)
        except (stripe.SignatureVerificationError, ValueError, RecursionError):
            raise Forged("This message does not bear Stripe's signature.") from None
        now = self._clock.now_ns() // 1_000_000_000
        if abs(now - signed) > TOLERANCE_SECONDS:
            raise Forged("This message was signed too long ago.")
        if not isinstance(event, dict):
            raise Forged("This is signed, and is no event.")
        return event


def _signed_at(header: str) -> int:
    return next(int(part[2:]) for part in header.split(",") if part.startswith("t="))


def _hint(event_id: str, kind: str, told: dict[str, Any]) -> Hint | None:
    marks = told.get("metadata")
    order = marks.get("topup") if isinstance(marks, dict) else None
    if kind.startswith(("payment_intent.", "checkout.session.")):
        reference = told.get("id")
        order = order or told.get("client_reference_id")
    elif kind.startswith(("charge.", "refund.")):
        reference = told.get("payment_intent")
    else:
        return None
    return Hint(
        event_id,
        kind,
        reference if isinstance(reference, str) else None,
        order if isinstance(order, str) else None,
    )
