"""Stripe behind the ports of payments, through Stripe's own library. This is its door."""

from __future__ import annotations

from stripe import HTTPClient

from brain.adapters.payments.settings import PaymentSettings
from brain.adapters.payments.stripe.api import Api
from brain.adapters.payments.stripe.collector import StripeCollector
from brain.adapters.payments.stripe.hints import StripeHints
from brain.adapters.payments.stripe.keeper import StripeKeeper
from brain.adapters.payments.stripe.statement import StripeStatement
from brain.payments import Processor
from kernel.clock import Clock

METHODS = ("card", "page")


def open_stripe(
    settings: PaymentSettings, clock: Clock, *, http: HTTPClient | None = None
) -> tuple[Processor, Api]:
    """Stripe as a processor, and its connection for who closes it. ``http`` replaces the way there
    (a stand-in in the same process)."""
    assert settings.stripe_api_key is not None, "the caller looked"
    api = Api(settings.stripe_api_key.get_secret_value(), settings.stripe_api_base, http=http)
    secret = settings.stripe_webhook_secret
    collector = StripeCollector(api)
    processor = Processor(
        collector=collector,
        methods=METHODS,
        canceller=collector,
        finder=collector,
        refunder=collector,
        reader=None if secret is None else StripeHints(secret.get_secret_value(), clock),
        keeper=StripeKeeper(api),
        statement=StripeStatement(api),
    )
    return processor, api


__all__ = ["Api", "PaymentSettings", "open_stripe"]
