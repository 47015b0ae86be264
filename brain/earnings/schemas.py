"""What a provider is shown of its earnings."""

from __future__ import annotations

from pydantic import BaseModel, Field


class EarnedDayView(BaseModel):
    day: str = Field(description="UTC, YYYY-MM-DD; a bill counts on the day it ends.")
    gpu_seconds: str
    earned_nano: int
    earned_usd: str


class EarnedNodeView(BaseModel):
    node_id: str | None = Field(description="Null: volumes.")
    name: str
    gpus: int
    gpu_seconds: str
    earned_nano: int
    earned_usd: str
    utilisation_ppm: int = Field(description="Leased GPU time of all that there was, in millionths")


class EarningsView(BaseModel):
    """Money in nano-dollars, after the platform's fee. Time that is not billed yet is not in it."""

    pending_nano: int = Field(description="Of bills that are too young to be paid out.")
    pending_usd: str
    matured_nano: int = Field(description="Of older ones, paid out or not.")
    matured_usd: str
    unpaid_nano: int = Field(description="The ledger's line: pending and matured, less payouts.")
    payable_nano: int = Field(description="Matured and not paid out: what a payout would be.")
    payable_usd: str
    under_way_nano: int = Field(description="Of payouts that are not settled yet.")
    under_way_usd: str
    matures_after_seconds: int
    days: int
    by_node: list[EarnedNodeView]
    by_day: list[EarnedDayView]
