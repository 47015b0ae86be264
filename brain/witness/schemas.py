"""What the witness shows."""

from __future__ import annotations

from pydantic import BaseModel, Field

from brain.witness.models import Dispute, LeaseMinute
from kernel.ids import AccountId
from kernel.money import Money


class DisputeView(BaseModel):
    """GPU times in nanoseconds of one GPU; what went back in nano-dollars."""

    dispute_id: str
    lease_id: str
    yours: str = Field(description="`payer` or `provider`.")
    kind: str
    reason: str
    billed_gpu_ns: int
    signed_gpu_ns: int
    credit_nano: int = Field(description="What went back to the payer.")
    credit_usd: str
    at_ns: int


class MinuteView(BaseModel):
    """One record as the node signed it; times of the node's boot clock."""

    number: int
    epoch: int
    start_ns: int
    end_ns: int
    container_ns: int
    gpu_ns: int
    previous: str
    hash: str
    signature: str


class ChainView(BaseModel):
    """With these anyone can check the chain: `kernel.wire.minutes` says how."""

    lease_id: str
    node_id: str
    gpus: int
    records: int
    container_ns: int
    gpu_ns: int
    broken: str
    settled: bool
    public_keys: list[str] = Field(description="Every Ed25519 key that the node had, hex.")
    minutes: list[MinuteView]
    next_after: int | None = Field(description="`after` for the next page; null at the end.")


def show_dispute(row: Dispute, account: AccountId) -> DisputeView:
    return DisputeView(
        dispute_id=row.dispute_id,
        lease_id=row.lease_id,
        yours="payer" if row.payer == account else "provider",
        kind=row.kind,
        reason=row.reason,
        billed_gpu_ns=row.billed_gpu_ns,
        signed_gpu_ns=row.signed_gpu_ns,
        credit_nano=row.credit_nano,
        credit_usd=str(Money(row.credit_nano)),
        at_ns=row.at_ns,
    )


def show_minute(row: LeaseMinute) -> MinuteView:
    names = MinuteView.model_fields
    return MinuteView(**{name: getattr(row, name) for name in names})
