"""What Stripe's errors mean for who called: try later, another card, never, or mend the key."""

from __future__ import annotations

import pytest
import stripe

from brain.adapters.payments.stripe.api import is_hard, translated
from brain.payments import Away, CredentialsRefused, PayerRefused, PaymentRefused


def card(decline: str | None, code: str = "card_declined") -> stripe.CardError:
    body = {"error": {"type": "card_error", "code": code, "decline_code": decline}}
    return stripe.CardError("no", None, code, http_status=402, json_body=body)


@pytest.mark.feature("H1")
@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (stripe.APIConnectionError("cut"), Away),
        (stripe.APIError("500", http_status=500), Away),
        (stripe.RateLimitError("429", http_status=429), Away),
        (stripe.IdempotencyError("409", http_status=409), Away),
        (stripe.InvalidRequestError("409", None, http_status=409), Away),
        (stripe.IdempotencyError("400", http_status=400), PaymentRefused),
        (stripe.InvalidRequestError("400", "amount", http_status=400), PaymentRefused),
        (stripe.AuthenticationError("401", http_status=401), CredentialsRefused),
        (stripe.PermissionError("403", http_status=403), CredentialsRefused),
        (card("stolen_card"), PayerRefused),
    ],
)
def test_errors_are_told_apart_by_what_can_be_done(
    error: stripe.StripeError, kind: type[Exception]
) -> None:
    assert type(translated(error)) is kind


@pytest.mark.feature("H2")
@pytest.mark.parametrize(
    ("code", "hard"),
    [
        ("insufficient_funds", False),
        ("try_again_later", False),
        ("processing_error", False),
        ("issuer_not_available", False),
        ("generic_decline", False),
        ("stolen_card", True),
        ("lost_card", True),
        ("fraudulent", True),
        ("expired_card", True),
        ("incorrect_number", True),
        ("something_new", True),
    ],
)
def test_soft_refusals_may_be_tried_later_and_unknown_ones_may_not(code: str, hard: bool) -> None:
    told = translated(card(code))
    assert is_hard(code) is hard
    assert isinstance(told, PayerRefused)
    assert (told.code, told.hard) == (code, hard)


def test_how_long_stripe_asks_to_wait_is_kept() -> None:
    busy = stripe.RateLimitError("429", http_status=429, headers={"retry-after": "7"})
    told = translated(busy)
    assert isinstance(told, Away)
    assert told.retry_after == 7


def test_no_error_shows_the_key() -> None:
    told = translated(stripe.AuthenticationError("Invalid API Key: sk_live_abc", http_status=401))
    assert "sk_live_abc" not in f"{told.detail} {told.internal}"
