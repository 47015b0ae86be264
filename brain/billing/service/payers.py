"""Who pays for a lease, for rooms that must not count an owner's own work."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select

from brain.billing.models import MeterLease
from brain.plumbing import Tx
from kernel.ids import AccountId, LeaseId


async def lease_payers(tx: Tx, lease_ids: Sequence[LeaseId]) -> dict[LeaseId, AccountId]:
    """Of those leases that the meter knows."""
    rows = await tx.execute(
        select(MeterLease.lease_id, MeterLease.payer).where(MeterLease.lease_id.in_(lease_ids))
    )
    return {row.lease_id: row.payer for row in rows}
