"""Settings of mail and of who signs documents; the brain's include them under the same names."""

from __future__ import annotations

from pydantic import Field
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
