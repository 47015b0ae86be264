"""Settings of crypto payments. Off, unless the owner's country has Coinbase Business."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BeforeValidator, Field, SecretStr, model_validator
from pydantic_settings import BaseSettings

from brain.adapters.clouds.settings import Key, Root
from brain.adapters.payments.coinbase.http import CoinbaseKey, read_key

COUNTRIES = frozenset({"US", "SG"})
Secret = Annotated[SecretStr | None, BeforeValidator(lambda value: value or None)]


class CoinbaseSettings(BaseSettings):
    """Coinbase Commerce is closed; its successor takes businesses of two countries alone."""

    crypto_payments: bool = Field(
        default=False, description="Take USDC by Coinbase Business Checkouts."
    )
    coinbase_country: str = Field(
        default="",
        pattern=r"^([A-Z]{2})?$",
        description="Country of your legal entity; Coinbase Business is for US and SG alone.",
    )
    coinbase_base_url: Root = Field(
        default="https://business.coinbase.com/api/v1", description="Root of its API."
    )
    coinbase_key_id: str = Field(default="", max_length=300, description="Id of a CDP API key.")
    coinbase_key_secret: Secret = Field(
        default=None, description="Its private key: PEM (line breaks as \\n) or base64."
    )
    coinbase_webhook_secret: Key = Field(
        default=None,
        description="Secret of the subscription to /webhooks/coinbase; without it payments are"
        " polled alone.",
    )

    @model_validator(mode="after")
    def _may_take_crypto(self) -> Self:
        if self.crypto_payments:
            if self.coinbase_country not in COUNTRIES:
                raise ValueError(
                    "CRYPTO_PAYMENTS needs COINBASE_COUNTRY to be US or SG: Coinbase Business takes"
                    " legal entities of these countries alone."
                )
            if not self.coinbase_key_id or self.coinbase_key_secret is None:
                raise ValueError("CRYPTO_PAYMENTS needs COINBASE_KEY_ID and COINBASE_KEY_SECRET.")
            self.coinbase_key()
        return self

    def coinbase_key(self) -> CoinbaseKey | None:
        """None: crypto payments are off."""
        if not self.crypto_payments or self.coinbase_key_secret is None:
            return None
        try:
            return read_key(self.coinbase_key_id, self.coinbase_key_secret.get_secret_value())
        except ValueError as wrong:
            raise ValueError(f"COINBASE_KEY_SECRET {wrong}.") from None
