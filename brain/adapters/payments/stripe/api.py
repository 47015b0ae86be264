"""One connection to Stripe: the library's client, and its errors by what the caller can do.

The library repeats nothing by itself here: repeats are the reconciler's, with our own keys.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, TypeVar

import stripe
from stripe import StripeClient

from brain.payments import (
    Away,
    CredentialsRefused,
    PayerRefused,
    PaymentError,
    PaymentRefused,
)

T = TypeVar("T")
SECONDS_MAX = 20.0
# What a bank may answer otherwise within hours or days; everything else asks for another card.
SOFT = frozenset(
    {
        "insufficient_funds",
        "try_again_later",
        "processing_error",
        "issuer_not_available",
        "reenter_transaction",
        "approve_with_id",
        "card_velocity_exceeded",
        "withdrawal_count_limit_exceeded",
        "do_not_honor",
        "generic_decline",
        "call_issuer",
        "no_action_taken",
        "card_declined",
        "authentication_required",
    }
)
ASKS_FOR_PAYER = "authentication_required"


class Api:
    """``client`` is the library's own; use it through :meth:`ask` alone."""

    def __init__(self, key: str, base: str, *, http: stripe.HTTPClient | None = None) -> None:
        self._http = http or stripe.HTTPXClient(timeout=SECONDS_MAX)
        self.client = StripeClient(
            key,
            base_addresses={"api": base},
            max_network_retries=0,
            http_client=self._http,
        )

    async def ask(self, call: Awaitable[T]) -> T:
        """Make one call; whatever goes wrong is a ``PaymentError``."""
        try:
            return await call
        except stripe.StripeError as error:
            raise translated(error) from error

    async def close(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]


def is_hard(code: str | None) -> bool:
    """Will this card be refused for ever? Unknown codes count so: another card is the safe way."""
    return code is not None and code not in SOFT


def translated(error: stripe.StripeError) -> PaymentError:
    """Public sentences are our own: the library's may hold what is not for the payer."""
    told = _internal(error)
    if isinstance(error, stripe.CardError):
        code = _decline(error)
        said = error.user_message or "The card was refused."
        return PayerRefused(said, code=code, hard=is_hard(code), internal=told)
    if isinstance(error, stripe.AuthenticationError | stripe.PermissionError):
        return CredentialsRefused("Stripe refuses our key.", internal=told)
    if isinstance(error, stripe.RateLimitError):
        return Away("Stripe is busy.", internal=told, retry_after=_retry_after(error))
    if isinstance(error, stripe.IdempotencyError) and error.http_status == 409:
        return Away("Stripe still works on the same call.", internal=told, retry_after=1)
    if isinstance(error, stripe.InvalidRequestError | stripe.IdempotencyError):
        if error.http_status == 409:
            return Away("Stripe still works on the same call.", internal=told, retry_after=1)
        return PaymentRefused("Stripe refuses this call.", internal=told)
    return Away("Stripe did not answer.", internal=told)


def payment_in(error: stripe.StripeError) -> Any:
    """The payment that an error tells of, as the library reads it; None: it tells of none."""
    body = getattr(error, "error", None)
    return getattr(body, "payment_intent", None)


def _decline(error: stripe.CardError) -> str:
    body = error.error
    declined = getattr(body, "decline_code", None)
    return str(declined or error.code or "card_declined")


def _retry_after(error: stripe.StripeError) -> int | None:
    told = dict(error.headers or {}).get("retry-after", "")
    return int(told) if str(told).isdigit() else None


def _internal(error: stripe.StripeError) -> str:
    """For the log: no key, no card."""
    kind = type(error).__name__
    # A refusal of our key quotes it.
    said = "" if isinstance(error, stripe.AuthenticationError) else error.user_message
    return f"{kind} {error.http_status} {error.code} {error.request_id} {said}"
