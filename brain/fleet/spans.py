"""When which lease held which GPUs: what a look into the past goes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import or_, select

from brain.fleet import store
from brain.fleet.models import Lease
from brain.plumbing import Tx
from kernel.ids import DeploymentId, LeaseId, NodeId, ReplicaId


@dataclass(frozen=True)
class LeaseSpan:
    """``closed_ns`` None: it is open."""

    lease_id: LeaseId
    replica_id: ReplicaId
    deployment_id: DeploymentId
    node_id: NodeId
    gpu_uuids: tuple[str, ...]
    opened_ns: int
    closed_ns: int | None


async def lease_spans(
    tx: Tx,
    *,
    since_ns: int,
    until_ns: int,
    limit: int,
    node_id: NodeId | None = None,
    replica_ids: Sequence[ReplicaId] | None = None,
) -> list[LeaseSpan]:
    """Leases that were open at any time in between, the newest first, at most ``limit``."""
    assert node_id is not None or replica_ids is not None, "never all leases there ever were"
    wanted = (
        select(Lease)
        .where(
            Lease.opened_ns < until_ns, or_(Lease.closed_ns.is_(None), Lease.closed_ns >= since_ns)
        )
        .order_by(Lease.opened_ns.desc(), Lease.lease_id)
        .limit(limit)
    )
    if node_id is not None:
        wanted = wanted.where(Lease.node_id == node_id)
    if replica_ids is not None:
        wanted = wanted.where(Lease.replica_id.in_(replica_ids))
    rows = list(await tx.scalars(wanted))
    uuids = await store.lease_gpus(tx, [row.lease_id for row in rows])
    return [
        LeaseSpan(
            lease_id=row.lease_id,
            replica_id=row.replica_id,
            deployment_id=row.deployment_id,
            node_id=row.node_id,
            gpu_uuids=uuids.get(row.lease_id, ()),
            opened_ns=row.opened_ns,
            closed_ns=row.closed_ns,
        )
        for row in rows
    ]


async def node_gpu_uuids(tx: Tx, node_id: NodeId) -> list[str]:
    """The node's GPUs as it names them now, in its order."""
    return [row.gpu_uuid for row in await store.node_gpus(tx, node_id)]


async def node_known(tx: Tx, node_id: NodeId) -> bool:
    """Whether there is, or was, such a node in the fleet."""
    return await store.fleet_node(tx, node_id) is not None
