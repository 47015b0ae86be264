"""Who pays for a lease, for rooms that must not count an owner's own work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from brain.billing.models import MeterLease
from brain.plumbing import Tx
from kernel.ids import AccountId, LeaseId


@dataclass(frozen=True)
class Parties:
    """Who pays for a lease's time and who earns by it, and how many GPUs it has."""

    payer: AccountId
    provider: AccountId | None
    gpus: int


async def lease_parties(tx: Tx, lease_id: LeaseId) -> Parties | None:
    """None when the meter does not know the lease."""
    row = await tx.get(MeterLease, lease_id)
    return None if row is None else Parties(row.payer, row.provider, row.gpus)


async def lease_payers(tx: Tx, lease_ids: Sequence[LeaseId]) -> dict[LeaseId, AccountId]:
    """Of those leases that the meter knows."""
    rows = await tx.execute(
        select(MeterLease.lease_id, MeterLease.payer).where(MeterLease.lease_id.in_(lease_ids))
    )
    return {row.lease_id: row.payer for row in rows}
