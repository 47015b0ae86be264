"""What this brain process keeps in memory of each node that speaks to it, and how it is loaded.

A copy, never the truth: it is loaded anew whenever the node's row was changed by anyone, and a
process that starts with nothing loads it at a node's first call.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import cast

import msgspec
from sqlalchemy import select, text

from brain.fleet import store, volumes
from brain.fleet.core import LeaseFacts, plain
from brain.fleet.gpu_health import unhealthy
from brain.fleet.link_keys import LinkKeys
from brain.fleet.models import FleetNode, Lease, NodeBeat, NodeGpu
from brain.fleet.session import Sequence as CallNumbers
from brain.fleet.states import LeaseState
from brain.marketplace import Node
from brain.plumbing import Tx
from kernel.clock import NS
from kernel.ids import NodeId
from kernel.wire.agent import DesiredLease, DesiredSet, DesiredState, GpuReading, LaunchSpec

# UUID, name, MiB, simulated, lost, used by others, why it is not healthy.
Gpu = tuple[str, str, int, bool, bool, bool, str]


@dataclass(frozen=True)
class Inventory:
    """What a node consists of; saved when it changes, not at each beat."""

    gpus: tuple[Gpu, ...] = ()
    engine: str = ""
    nvml: str = ""
    agent_version: str = ""

    @classmethod
    def of(
        cls, gpus: Sequence[GpuReading], *, engine: str, nvml: str, agent_version: str
    ) -> Inventory:
        seen = tuple(
            (
                plain(g.uuid),
                plain(g.name),
                g.memory_total_mib,
                g.simulated,
                g.lost,
                g.foreign_use,
                unhealthy(g),
            )
            for g in gpus
        )
        return cls(seen, plain(engine), nvml, plain(agent_version))


@dataclass
class Desk:
    """One node. ``changed`` is set, and replaced, when the generation rises."""

    node_id: NodeId
    xid: int
    revoked: bool
    agent_start_id: str
    generation: int
    desired: DesiredSet
    leases: dict[str, LeaseFacts]
    inventory: Inventory
    numbers: CallNumbers
    beat_number: int
    last_seen_ns: int
    awaits: bool = False  # a lease of it waits to know this machine's GPUs
    missing_since_ns: dict[str, int] = field(default_factory=dict)
    renewed_ns: dict[str, int] = field(default_factory=dict)  # by the last beat here
    evident_ns: dict[str, int] = field(default_factory=dict)  # when each lease was last seen alive
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def is_late(self, lease_id: str, now_ns: int) -> bool:
        """Whether a renewal comes after the lease's time, when the brain may be closing it."""
        lease = self.leases[lease_id]
        last_ns = max(lease.renewed_ns, lease.opened_ns, self.renewed_ns.get(lease_id, 0))
        return now_ns >= last_ns + lease.ttl_seconds * NS

    def take_over(self, before: Desk) -> None:
        """Keep what only this process knows, when the rest was loaded anew."""
        if before.agent_start_id == self.agent_start_id:
            self.numbers = before.numbers
            self.beat_number = before.beat_number
        self.last_seen_ns = max(self.last_seen_ns, before.last_seen_ns)
        self.renewed_ns = before.renewed_ns
        seen = before.evident_ns.items()
        self.evident_ns = {key: ns for key, ns in seen if key in self.leases}
        kept = before.missing_since_ns.items()
        self.missing_since_ns = {key: ns for key, ns in kept if key in self.leases}


async def load(tx: Tx, node_ids: Sequence[NodeId], keys: LinkKeys) -> dict[NodeId, Desk]:
    """Desks of these nodes, as the database has them now. Unknown nodes are left out."""
    rows = await tx.execute(
        select(FleetNode, NodeBeat, Node.revoked_at)
        .join(NodeBeat, NodeBeat.node_id == FleetNode.node_id)
        .join(Node, Node.node_id == FleetNode.node_id)
        .where(FleetNode.node_id.in_(node_ids))
        .execution_options(populate_existing=True)
    )
    nodes = rows.all()
    live = await store.live_leases(tx, node_ids)
    uuids = await store.lease_gpus(tx, [lease.lease_id for lease in live])
    gpus = await _gpus(tx, node_ids)
    gone = await volumes.drops(tx, node_ids)
    desks = {}
    for node, beat, revoked_at in nodes:
        every = [lease for lease in live if lease.node_id == node.node_id]
        own = [lease for lease in every if lease.awaits_mib is None]
        wanted = [_desired(lease, uuids.get(lease.lease_id, ()), keys) for lease in own]
        desks[node.node_id] = Desk(
            node_id=node.node_id,
            xid=node.xid,
            revoked=revoked_at is not None,
            agent_start_id=node.agent_start_id,
            generation=node.generation,
            desired=DesiredSet(
                generation=node.generation,
                leases=wanted,
                drop_volumes=gone.get(node.node_id, []),
            ),
            leases={str(lease.lease_id): store.facts(lease) for lease in own},
            inventory=Inventory(
                tuple(gpus.get(node.node_id, ())), node.engine, node.nvml, node.agent_version
            ),
            numbers=CallNumbers(beat.seq),
            beat_number=beat.seq,
            last_seen_ns=beat.last_seen_ns,
            awaits=len(own) < len(every),
        )
    return desks


@dataclass(frozen=True)
class Changed:
    """Changed nodes with the id of the transaction that did it; ``cursor`` is for the next."""

    cursor: int
    xids: dict[NodeId, int]


async def changed_since(tx: Tx, cursor: int) -> Changed:
    """Like ``plumbing.changes``: nodes may come twice, but a late commit is never missed."""
    rows = await tx.execute(
        text(
            "SELECT node_id, xid,"
            " pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS cursor"
            " FROM (SELECT 1) one LEFT JOIN fleet_node ON xid >= :cursor"
        ),
        {"cursor": cursor},
    )
    found = rows.all()
    nodes = {NodeId(row.node_id): row.xid for row in found if row.node_id is not None}
    return Changed(cursor=found[0].cursor, xids=nodes)


def _desired(lease: Lease, gpu_uuids: Sequence[str], keys: LinkKeys) -> DesiredLease:
    run = lease.state == LeaseState.OPEN.value
    return DesiredLease(
        lease_id=str(lease.lease_id),
        epoch=lease.epoch,
        gpu_uuids=list(gpu_uuids),
        ttl_seconds=lease.ttl_seconds,
        state=DesiredState.RUN if run else DesiredState.STOP,
        launch=msgspec.json.decode(lease.launch, type=LaunchSpec),
        link_key=keys.of(lease.lease_id, lease.epoch),
    )


async def _gpus(tx: Tx, node_ids: Sequence[NodeId]) -> dict[NodeId, list[Gpu]]:
    rows = await tx.execute(
        select(
            NodeGpu.node_id,
            NodeGpu.gpu_uuid,
            NodeGpu.name,
            NodeGpu.memory_mib,
            NodeGpu.simulated,
            NodeGpu.lost,
            NodeGpu.foreign_use,
            NodeGpu.unhealthy,
        )
        .where(NodeGpu.node_id.in_(node_ids))
        .order_by(NodeGpu.node_id, NodeGpu.position)
    )
    found: dict[NodeId, list[Gpu]] = {}
    for row in rows:
        _, *gpu = row
        found.setdefault(row.node_id, []).append(cast(Gpu, tuple(gpu)))
    return found
