"""SQL of leases and node counters. Locks are taken in the order replica, lease, node, money."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import BigInteger, func, literal, select, text, update
from sqlalchemy.dialects.postgresql import insert

from brain.fleet.core import GRACE_NS, LeaseFacts, Receiving
from brain.fleet.models import FleetNode, Lease, LeaseGpu, NodeBeat, NodeGpu, Reception
from brain.fleet.states import LEASE, LIVE, LeaseState
from brain.fleet.views import Claim
from brain.plumbing import Tx
from kernel.clock import NS, at_ns
from kernel.ids import AccountId, LeaseId, NodeId
from kernel.wire.agent import LaunchSpec

FIRST_EPOCH = 1
FIRST_GENERATION = 2  # an agent that knows nothing has 0: it is told the whole set
XID = text("pg_current_xact_id()::text::bigint")


async def ensure_node(tx: Tx, node_id: NodeId) -> None:
    """The fleet's own rows of a node; made when it first speaks."""
    await tx.execute(
        insert(FleetNode)
        .values(
            node_id=node_id,
            generation=1,
            epoch=0,
            xid=XID,
            host_boot_id="",
            agent_start_id="",
            agent_version="",
            engine="process",
            nvml="",
            quarantined="",
        )
        .on_conflict_do_nothing(index_elements=["node_id"])
    )
    await tx.execute(
        insert(NodeBeat)
        .values(node_id=node_id, agent_start_id="", seq=0, last_seen_ns=0, generation_applied=0)
        .on_conflict_do_nothing(index_elements=["node_id"])
    )


async def add_rented(tx: Tx, node_id: NodeId) -> None:
    """The fleet's row of a machine that is yet to be rented: its first lease has epoch 1. It
    has no beat before it speaks, so that its silence counts for nothing."""
    await tx.execute(
        insert(FleetNode).values(
            node_id=node_id,
            generation=FIRST_GENERATION,
            epoch=FIRST_EPOCH,
            xid=XID,
            host_boot_id="",
            agent_start_id="",
            agent_version="",
            engine="process",
            nvml="",
            quarantined="",
        )
    )


async def awaiting_lease(tx: Tx, node_id: NodeId) -> LeaseId | None:
    """The open lease of this node whose GPUs are not known yet."""
    return await tx.scalar(
        select(Lease.lease_id).where(
            Lease.node_id == node_id,
            Lease.awaits_mib.is_not(None),
            Lease.state == LeaseState.OPEN.value,
        )
    )


async def node_gpus(tx: Tx, node_id: NodeId) -> list[NodeGpu]:
    """The node's GPUs in their own order, lost ones left out."""
    return list(
        await tx.scalars(
            select(NodeGpu)
            .where(NodeGpu.node_id == node_id, ~NodeGpu.lost)
            .order_by(NodeGpu.position, NodeGpu.gpu_uuid)
            .execution_options(populate_existing=True)
        )
    )


async def raise_generation(tx: Tx, node_id: NodeId) -> None:
    """The node's desired set changed; holds the node's row."""
    await tx.execute(
        update(FleetNode)
        .where(FleetNode.node_id == node_id)
        .values(generation=FleetNode.generation + 1, xid=XID)
        .execution_options(synchronize_session=False)
    )


@dataclass(frozen=True)
class Entry:
    """What the node was sold at, as it was under its lock."""

    epoch: int
    generation: int
    account_id: AccountId
    price_nano: int


@dataclass(frozen=True)
class Entered:
    """A claim as it went: the node and the GPUs, or why not."""

    entry: Entry | None
    gpu_uuids: tuple[str, ...]
    refused: str = ""
    detail: str = ""


_CLAIM = text(
    "SELECT * FROM fleet_claim(:lease, :node, :replica, :deployment, :gpus, :vram, :price_max,"
    " CAST(:launch AS bytea), :ttl, :now, :state, :reason, :at)"
)


async def enter_claim(
    tx: Tx, lease_id: LeaseId, wanted: Claim, reason: str, now_ns: int
) -> Entered:
    """Lock the node, look whether it may be sold, take its free GPUs and write the lease, in one
    round trip: eight schedulers at one node wait as short as can be. What it has of several kinds
    of GPU, the one that fits most tightly is taken."""
    found = await tx.execute(
        _CLAIM,
        {
            "lease": lease_id,
            "node": wanted.node_id,
            "replica": wanted.replica_id,
            "deployment": wanted.deployment_id,
            "gpus": wanted.gpu_count,
            "vram": wanted.vram_mib,
            "price_max": wanted.price_nano_max,
            "launch": msgspec.json.encode(wanted.launch),
            "ttl": wanted.ttl_seconds,
            "now": now_ns,
            "state": LEASE.start.value,  # with the first line of its history, as moves.create
            "reason": reason,
            "at": at_ns(now_ns),
        },
    )
    row = found.one()
    if row.refused:
        return Entered(None, (), row.refused, row.detail)
    entry = Entry(row.epoch, row.generation, AccountId(row.account_id), row.price_nano)
    return Entered(entry, tuple(row.gpu_uuids))


async def touch_node(tx: Tx, node_id: NodeId) -> None:
    """Have every reader of this node load it again."""
    await tx.execute(
        update(FleetNode)
        .where(FleetNode.node_id == node_id)
        .values(xid=XID)
        .execution_options(synchronize_session=False)
    )


async def fleet_node(tx: Tx, node_id: NodeId, *, lock: bool = False) -> FleetNode | None:
    wanted = select(FleetNode).where(FleetNode.node_id == node_id)
    if lock:
        wanted = wanted.with_for_update().execution_options(populate_existing=True)
    return await tx.scalar(wanted)


async def add_lease_gpus(
    tx: Tx, lease_id: LeaseId, node_id: NodeId, gpu_uuids: Sequence[str]
) -> None:
    rows = [
        {
            "lease_id": lease_id,
            "gpu_uuid": uuid,
            "node_id": node_id,
            "position": position,
            "live": True,
        }
        for position, uuid in enumerate(gpu_uuids)
    ]
    await tx.execute(insert(LeaseGpu).values(rows))


async def release_gpus(tx: Tx, lease_id: LeaseId) -> None:
    await tx.execute(
        update(LeaseGpu)
        .where(LeaseGpu.lease_id == lease_id)
        .values(live=False)
        .execution_options(synchronize_session=False)
    )


async def lease(tx: Tx, lease_id: LeaseId, *, lock: bool = False) -> Lease | None:
    wanted = select(Lease).where(Lease.lease_id == lease_id)
    if lock:
        wanted = wanted.with_for_update().execution_options(populate_existing=True)
    return await tx.scalar(wanted)


async def lease_gpus(tx: Tx, lease_ids: Sequence[LeaseId]) -> dict[LeaseId, tuple[str, ...]]:
    rows = await tx.execute(
        select(LeaseGpu.lease_id, LeaseGpu.gpu_uuid)
        .where(LeaseGpu.lease_id.in_(lease_ids))
        .order_by(LeaseGpu.lease_id, LeaseGpu.position)
    )
    found: dict[LeaseId, tuple[str, ...]] = {}
    for lease_id, uuid in rows:
        found[lease_id] = (*found.get(lease_id, ()), uuid)
    return found


async def live_leases(tx: Tx, node_ids: Sequence[NodeId]) -> list[Lease]:
    """Leases of these nodes that are not closed, in the order of their epochs."""
    return list(
        await tx.scalars(
            select(Lease)
            .where(Lease.node_id.in_(node_ids), Lease.state != LeaseState.CLOSED.value)
            .order_by(Lease.node_id, Lease.epoch)
            .execution_options(populate_existing=True)
        )
    )


async def overdue_leases(tx: Tx, now_ns: int, after: str, limit: int) -> list[Lease]:
    """One page of the live leases that no renewal kept within their ttl and the grace."""
    last = func.greatest(Lease.renewed_ns, Lease.opened_ns)
    return list(
        await tx.scalars(
            select(Lease)
            .where(
                Lease.state.in_(LIVE),
                Lease.awaits_mib.is_(None),  # its machine has a deadline of its own
                Lease.lease_id > after,
                last + Lease.ttl_seconds * literal(NS, BigInteger) + GRACE_NS <= now_ns,
            )
            .order_by(Lease.lease_id)
            .limit(limit)
        )
    )


async def contradictions(tx: Tx) -> list[str]:
    """Live leases whose GPUs are not exactly the GPUs held for them: never any, or we are wrong."""
    rows = await tx.execute(
        text(
            "SELECT l.lease_id, l.state, l.gpu_count, count(g.gpu_uuid) AS held FROM lease l"
            " LEFT JOIN lease_gpu g ON g.lease_id = l.lease_id AND g.live"
            " WHERE l.state <> 'closed' AND l.awaits_mib IS NULL GROUP BY l.lease_id"
            " HAVING count(g.gpu_uuid) <> l.gpu_count"
            " UNION ALL SELECT l.lease_id, l.state, 0, count(*) FROM lease l"
            " JOIN lease_gpu g ON g.lease_id = l.lease_id AND g.live"
            " WHERE l.state = 'closed' GROUP BY l.lease_id LIMIT 20"
        )
    )
    return [
        f"{row.lease_id} is {row.state} for {row.gpu_count} GPUs and holds {row.held}"
        for row in rows
    ]


async def reception(tx: Tx) -> list[Receiving]:
    """When each brain process of late was receiving beats."""
    rows = await tx.execute(select(Reception.since_ns, Reception.until_ns))
    return [Receiving(row.since_ns, row.until_ns) for row in rows]


def facts(row: Lease) -> LeaseFacts:
    return LeaseFacts(
        lease_id=str(row.lease_id),
        epoch=row.epoch,
        generation=row.generation,
        state=LeaseState(row.state),
        ttl_seconds=row.ttl_seconds,
        opened_ns=row.opened_ns,
        renewed_ns=row.renewed_ns,
        stop_asked_ns=row.stop_asked_ns,
        drain_seconds=drain_seconds(row),
        seen_state=row.seen_state,
        seen_reason=row.seen_reason,
        seen_port=row.seen_port,
        seen_restarts=row.seen_restarts,
        seen_kv_tokens=row.seen_kv_tokens or 0,
    )


def drain_seconds(row: Lease) -> int:
    """Asked for only of a lease that is to stop, so only then is the launch read."""
    if row.stop_asked_ns is None:
        return 0
    return msgspec.json.decode(row.launch, type=LaunchSpec).drain_seconds_max


def hurry(row: Lease, drain_seconds_max: int) -> None:
    """From now on its agent gives the work no longer than this to end."""
    launch = msgspec.json.decode(row.launch, type=LaunchSpec)
    if launch.drain_seconds_max > drain_seconds_max:
        quick = msgspec.structs.replace(launch, drain_seconds_max=drain_seconds_max)
        row.launch = msgspec.json.encode(quick)
