"""The settings of payment processors; the brain's settings include them under the same names."""

from __future__ import annotations

from decimal import Decimal

from pydantic import Field
from pydantic_settings import BaseSettings

from brain.adapters.clouds.settings import Key, Root


class PaymentSettings(BaseSettings):
    """A processor takes part when its key is set. Keys travel over https, or to this machine."""

    stripe_api_key: Key = Field(
        default=None, description="Secret key at Stripe (sk_… or rk_…); without it no cards."
    )
    stripe_webhook_secret: Key = Field(
        default=None,
        description="Signing secret (whsec_…) of Stripe's webhook to /webhooks/stripe; without it"
        " payments are polled alone.",
    )
    stripe_api_base: Root = Field(
        default="https://api.stripe.com", description="Root of Stripe's API; its stand-in's here."
    )
    stripe_publishable_key: str = Field(
        default="",
        max_length=500,
        pattern=r"^(pk_[A-Za-z0-9_]+)?$",
        description="Key at Stripe that web pages may know (pk_…).",
    )
    topup_usd_min: Decimal = Field(
        default=Decimal(5), gt=0, decimal_places=2, description="The least that is topped up."
    )
    topup_usd_max: Decimal = Field(
        default=Decimal(10_000),
        gt=0,
        le=Decimal(999_999),
        decimal_places=2,
        description="The most of one top-up.",
    )
    topup_refund_days: int = Field(
        default=14,
        ge=0,
        le=180,
        description="So long an owner may take back what is unused of a top-up.",
    )
