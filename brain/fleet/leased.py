"""How much of nodes' GPU time was leased, and on which node each lease was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import func, select

from brain.fleet.models import Lease, NodeGpu
from brain.marketplace import Node
from brain.plumbing import Tx
from kernel.clock import NS
from kernel.ids import AccountId, LeaseId, NodeId


async def nodes_of_leases(tx: Tx, lease_ids: Sequence[LeaseId]) -> dict[LeaseId, NodeId]:
    """Of those leases that there are."""
    rows = await tx.execute(
        select(Lease.lease_id, Lease.node_id).where(Lease.lease_id.in_(lease_ids))
    )
    return {row.lease_id: row.node_id for row in rows}


async def leased_gpu_ns(
    tx: Tx, node_ids: Sequence[NodeId], *, since_ns: int, now_ns: int
) -> dict[NodeId, int]:
    """GPU-ns between ``since_ns`` and ``now_ns`` that were under a lease, by node."""
    begin = func.greatest(Lease.opened_ns, since_ns)
    end = func.least(func.coalesce(Lease.closed_ns, now_ns), now_ns)
    rows = await tx.execute(
        select(Lease.node_id, func.sum((end - begin) * Lease.gpu_count).label("gpu_ns"))
        .where(
            Lease.node_id.in_(node_ids),
            func.coalesce(Lease.closed_ns, now_ns) > since_ns,
            Lease.opened_ns < now_ns,
        )
        .group_by(Lease.node_id)
    )
    return {row.node_id: int(row.gpu_ns) for row in rows}


@dataclass(frozen=True)
class NodeFacts:
    """A node of an account, and how many GPUs it has."""

    node_id: NodeId
    name: str
    gpus: int
    since_ns: int


async def nodes_of_account(tx: Tx, account_id: AccountId) -> list[NodeFacts]:
    """All that this account ever offered, in the order in which they joined."""
    gpus = (
        select(func.count())
        .select_from(NodeGpu)
        .where(NodeGpu.node_id == Node.node_id)
        .scalar_subquery()
    )
    rows = await tx.execute(
        select(Node.node_id, Node.name, Node.created_at, gpus.label("gpus"))
        .where(Node.account_id == account_id)
        .order_by(Node.node_id)
    )
    return [
        NodeFacts(row.node_id, row.name, int(row.gpus), int(row.created_at.timestamp()) * NS)
        for row in rows
    ]
