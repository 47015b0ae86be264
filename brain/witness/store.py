"""All SQL of the witness."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import or_, select
from sqlalchemy.dialects.postgresql import insert

from brain.plumbing import Tx
from brain.witness.models import Dispute, LeaseMinute, LeaseWitness
from kernel.ids import AccountId, LeaseId, NodeId
from kernel.wire.minutes import FIRST


async def chain(tx: Tx, lease_id: LeaseId, node_id: NodeId, gpus: int) -> LeaseWitness:
    """The lease's chain, locked; begun where there is none."""
    empty = {"number": 0, "head": FIRST, "end_ns": 0, "container_ns": 0, "gpu_ns": 0, "broken": ""}
    row = insert(LeaseWitness).values(lease_id=lease_id, node_id=node_id, gpus=gpus, **empty)
    await tx.execute(row.on_conflict_do_nothing())
    found = await tx.scalar(
        select(LeaseWitness)
        .where(LeaseWitness.lease_id == lease_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    assert found is not None, "inserted above"
    return found


async def known_chain(tx: Tx, lease_id: LeaseId) -> LeaseWitness | None:
    return await tx.get(LeaseWitness, lease_id)


async def hashes(tx: Tx, lease_id: LeaseId, numbers: Sequence[int]) -> dict[int, str]:
    """Hashes of records that are kept already."""
    rows = await tx.execute(
        select(LeaseMinute.number, LeaseMinute.hash).where(
            LeaseMinute.lease_id == lease_id, LeaseMinute.number.in_(numbers)
        )
    )
    return {row.number: row.hash for row in rows}


async def minutes(tx: Tx, lease_id: LeaseId, *, after: int, limit: int) -> list[LeaseMinute]:
    rows = await tx.scalars(
        select(LeaseMinute)
        .where(LeaseMinute.lease_id == lease_id, LeaseMinute.number > after)
        .order_by(LeaseMinute.number)
        .limit(limit)
    )
    return list(rows)


async def disputes(tx: Tx, account: AccountId, *, after: str | None, limit: int) -> list[Dispute]:
    """Disputes that this account pays or earns by, newest first."""
    query = (
        select(Dispute)
        .where(or_(Dispute.payer == account, Dispute.provider == account))
        .order_by(Dispute.dispute_id.desc())
        .limit(limit)
    )
    if after is not None:
        query = query.where(Dispute.dispute_id < after)
    return list(await tx.scalars(query))
