"""MoMo's settings: each product has a subscription key, a user and that user's key of its own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings

from brain.adapters.clouds.settings import Key, Root
from brain.adapters.payments.momo.http import MomoAccount
from brain.adapters.payments.momo.words import CURRENCIES

Word = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9-]*$")]


class MomoSettings(BaseSettings):
    """A product takes part when all three of its keys are set."""

    momo_base_url: Root = Field(
        default="https://proxy.momoapi.mtn.com",
        description="Root of MTN MoMo's API; https://sandbox.momodeveloper.mtn.com is its sandbox.",
    )
    momo_target_environment: Word = Field(
        default="sandbox",
        description="X-Target-Environment: sandbox, or the country's id, such as mtnuganda.",
    )
    momo_currency: str = Field(
        default="EUR", description="Currency of top-ups by MoMo; the sandbox knows EUR alone."
    )
    momo_collection_key: Key = Field(
        default=None, description="Subscription key of MoMo's collections; without it no top-ups."
    )
    momo_collection_user: Word = Field(default="", description="API user of collections.")
    momo_collection_user_key: Key = Field(default=None, description="That user's API key.")
    momo_disbursement_key: Key = Field(
        default=None, description="Subscription key of MoMo's disbursements; without it no payouts."
    )
    momo_disbursement_user: Word = Field(default="", description="API user of disbursements.")
    momo_disbursement_user_key: Key = Field(default=None, description="That user's API key.")

    @field_validator("momo_currency")
    @classmethod
    def _known_currency(cls, value: str) -> str:
        if value not in CURRENCIES:
            raise ValueError(f"must be one of {', '.join(sorted(CURRENCIES))}")
        return value

    def momo_account(self, product: str) -> MomoAccount | None:
        """Of ``collection`` or ``disbursement``; None while a key of it is missing."""
        key = getattr(self, f"momo_{product}_key")
        user = getattr(self, f"momo_{product}_user")
        user_key = getattr(self, f"momo_{product}_user_key")
        if key is None or not user or user_key is None:
            return None
        return MomoAccount(
            product=product,
            base_url=self.momo_base_url,
            environment=self.momo_target_environment,
            subscription_key=key.get_secret_value(),
            user=user,
            user_key=user_key.get_secret_value(),
        )
