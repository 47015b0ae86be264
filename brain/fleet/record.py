"""What the fleet knows of its nodes' past and present, for the room that judges them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from brain.fleet.core import Outcome
from brain.fleet.models import FleetNode, Lease, LeaseGpu, NodeBeat, NodeGpu
from brain.fleet.states import LeaseState
from brain.marketplace import Node
from brain.plumbing import Tx
from kernel.ids import DeploymentId, LeaseId, NodeId, ReplicaId


@dataclass(frozen=True)
class EndedLease:
    """``unasked``: its work was gone before anybody asked for its end. ``last_ns``: when a
    renewal of it was last answered."""

    lease_id: LeaseId
    node_id: NodeId
    opened_ns: int
    last_ns: int
    closed_ns: int
    outcome: Outcome
    unasked: bool
    reason: str


@dataclass(frozen=True)
class LiveLease:
    lease_id: LeaseId
    node_id: NodeId
    replica_id: ReplicaId
    deployment_id: DeploymentId


@dataclass(frozen=True)
class GpuNow:
    """One GPU of a node that is heard. ``held``: a live lease is on it."""

    node_id: NodeId
    gpu_uuid: str
    name: str
    memory_mib: int
    simulated: bool
    lost: bool
    foreign_use: bool
    held: bool
    host_boot_id: str


async def silent_nodes(tx: Tx) -> dict[NodeId, int]:
    """The providers' nodes that are silent, and since when."""
    rows = await tx.execute(
        select(FleetNode.node_id, FleetNode.silent_since_ns)
        .join(Node, Node.node_id == FleetNode.node_id)
        .where(FleetNode.silent_since_ns.is_not(None), Node.revoked_at.is_(None), ~Node.rented)
    )
    return {row.node_id: row.silent_since_ns for row in rows}


async def ended_leases(tx: Tx, node_ids: Sequence[NodeId], after_ns: int) -> list[EndedLease]:
    """Leases of these nodes that were closed after that time, with GPUs that were known."""
    rows = await tx.scalars(
        select(Lease)
        .where(
            Lease.node_id.in_(node_ids),
            Lease.state == LeaseState.CLOSED.value,
            Lease.closed_ns > after_ns,
            Lease.awaits_mib.is_(None),
        )
        .order_by(Lease.closed_ns, Lease.lease_id)
    )
    found = []
    for row in rows:
        assert row.closed_ns is not None, "it is closed"
        outcome = Outcome(row.outcome or Outcome.RELEASED.value)
        found.append(
            EndedLease(
                lease_id=row.lease_id,
                node_id=row.node_id,
                opened_ns=row.opened_ns,
                last_ns=max(row.renewed_ns, row.opened_ns),
                closed_ns=row.closed_ns,
                outcome=outcome,
                unasked=outcome is Outcome.RELEASED and row.stop_asked_ns == row.closed_ns,
                reason=row.state_reason,
            )
        )
    return found


async def live_leases_on(tx: Tx, node_ids: Sequence[NodeId]) -> list[LiveLease]:
    """The leases that are not closed."""
    rows = await tx.execute(
        select(Lease.lease_id, Lease.node_id, Lease.replica_id, Lease.deployment_id)
        .where(Lease.node_id.in_(node_ids), Lease.state != LeaseState.CLOSED.value)
        .order_by(Lease.lease_id)
    )
    return [LiveLease(*row) for row in rows]


async def gpus_now(tx: Tx, node_ids: Sequence[NodeId], heard_ns: int) -> list[GpuNow]:
    """The GPUs of those of these nodes that were heard since then and are offered by providers."""
    held = (
        select(LeaseGpu.lease_id)
        .where(
            LeaseGpu.live,
            LeaseGpu.node_id == NodeGpu.node_id,
            LeaseGpu.gpu_uuid == NodeGpu.gpu_uuid,
        )
        .exists()
    )
    rows = await tx.execute(
        select(NodeGpu, FleetNode.host_boot_id, held.label("held"))
        .join(FleetNode, FleetNode.node_id == NodeGpu.node_id)
        .join(NodeBeat, NodeBeat.node_id == NodeGpu.node_id)
        .join(Node, Node.node_id == NodeGpu.node_id)
        .where(
            NodeGpu.node_id.in_(node_ids),
            FleetNode.silent_since_ns.is_(None),
            NodeBeat.last_seen_ns >= heard_ns,
            Node.revoked_at.is_(None),
            ~Node.rented,
        )
        .order_by(NodeGpu.node_id, NodeGpu.position)
    )
    return [
        GpuNow(
            node_id=gpu.node_id,
            gpu_uuid=gpu.gpu_uuid,
            name=gpu.name,
            memory_mib=gpu.memory_mib,
            simulated=gpu.simulated,
            lost=gpu.lost,
            foreign_use=gpu.foreign_use,
            held=is_held,
            host_boot_id=boot_id,
        )
        for gpu, boot_id, is_held in rows
    ]
