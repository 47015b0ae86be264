"""Settings of mail and of who signs documents; the brain's include them under the same names."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings


class MailSettings(BaseSettings):
    """Who we are to customers."""

    seller_name: str = Field(
        default="Ganglion", max_length=200, description="Who issues invoices and signs mail."
    )
    seller_address: str = Field(
        default="",
        max_length=500,
        description="The seller's address on invoices; a line break is written as \\n.",
    )
    seller_tax_id: str = Field(
        default="", max_length=100, description="The seller's tax number on invoices."
    )
    smtp_host: str = Field(
        default="", max_length=253, description="Server that mail goes out by; empty: to the log."
    )
    smtp_port: int = Field(default=587, ge=1, le=65535, description="Port of that server.")
    smtp_tls: Literal["starttls", "tls", "none"] = Field(
        default="starttls", description="starttls, tls from the first byte, or none."
    )
    smtp_user: str = Field(
        default="", max_length=200, description="Who logs in there; empty: nobody."
    )
    smtp_password: SecretStr | None = Field(default=None, description="Password of that log-in.")
    mail_from: str = Field(
        default="", max_length=254, description="Sender of mail; empty: ganglion@SMTP_HOST."
    )
    low_balance_usd: Decimal = Field(
        default=Decimal(5),
        ge=0,
        le=10**6,
        decimal_places=2,
        description="Accounts that set no alert of their own are warned below it; 0: never.",
    )
    cost_tracking_enabled: bool = Field(
        default=True, description="Record what work costs us; off: what is recorded stays."
    )
    own_gpu_hour_cost_usd: Decimal = Field(
        default=Decimal(0),
        ge=0,
        le=1000,
        decimal_places=9,
        description="What an hour of one of our own nodes' GPUs costs us, for the tables of costs.",
    )
