"""What gathers between two writes, and the few statements that write it for all nodes at once."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sqlalchemy import delete, text, update

from brain.billing import lease_evidence
from brain.fleet import quarantine, store
from brain.fleet.core import GAP_NS
from brain.fleet.desk import Inventory
from brain.fleet.models import FleetNode, NodeGpu, Reception
from brain.plumbing import Ctx, Tx
from kernel.ids import BootId, LeaseId, NodeId


@dataclass(frozen=True)
class BeatRow:
    agent_start_id: str
    number: int
    at_ns: int
    generation: int


@dataclass
class Batch:
    """Keyed, so that a node that beats twice between two writes is written once."""

    beats: dict[NodeId, BeatRow] = field(default_factory=dict)
    renewed: dict[str, int] = field(default_factory=dict)
    evidence: dict[str, int] = field(default_factory=dict)
    states: dict[NodeId, tuple[int, bytes]] = field(default_factory=dict)

    def add(self, node_id: NodeId, start: str, number: int, at_ns: int, generation: int) -> None:
        self.beats[node_id] = BeatRow(start, number, at_ns, generation)

    def keep(self, unwritten: Batch) -> None:
        """Take back what could not be written; what came since is newer and stands."""
        self.beats = unwritten.beats | self.beats
        self.renewed = unwritten.renewed | self.renewed
        self.evidence = unwritten.evidence | self.evidence
        self.states = unwritten.states | self.states


_BEATS = text(
    "UPDATE node_beat AS b SET seq = greatest(v.seq, b.seq), generation_applied = v.generation,"
    " last_seen_ns = greatest(v.at_ns, b.last_seen_ns)"
    " FROM unnest(CAST(:nodes AS text[]), CAST(:starts AS text[]), CAST(:seqs AS bigint[]),"
    " CAST(:ats AS bigint[]), CAST(:generations AS bigint[]))"
    " AS v(node_id, start, seq, at_ns, generation)"
    " WHERE b.node_id = v.node_id AND b.agent_start_id = v.start"
)
_RENEWED = text(
    "UPDATE lease AS l SET renewed_ns = v.at_ns"
    " FROM unnest(CAST(:leases AS text[]), CAST(:ats AS bigint[])) AS v(lease_id, at_ns)"
    " WHERE l.lease_id = v.lease_id AND l.renewed_ns < v.at_ns AND l.state <> 'closed'"
)

_GPUS = text(
    "INSERT INTO node_gpu (node_id, gpu_uuid, name, memory_mib, simulated, lost, foreign_use,"
    " unhealthy, position)"
    " SELECT :node_id, v.uuid, v.name, v.mib, v.simulated, v.lost, v.used, v.unhealthy, v.place - 1"
    " FROM unnest(CAST(:uuids AS text[]), CAST(:names AS text[]), CAST(:mibs AS bigint[]),"
    " CAST(:simulated AS boolean[]), CAST(:lost AS boolean[]), CAST(:used AS boolean[]),"
    " CAST(:unhealthy AS text[])) WITH ORDINALITY"
    " AS v(uuid, name, mib, simulated, lost, used, unhealthy, place)"
    " ON CONFLICT DO NOTHING"
)


async def write_beats(ctx: Ctx, boot_id: BootId, gathered: Batch) -> None:
    """Two UPDATE statements for any number of nodes, and the mark that this brain receives.

    They commit together: where renewals are not written, no brain counts as receiving, so
    nothing runs out for want of them.
    """
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        await _mark_reception(tx, boot_id, now_ns)
        if gathered.beats:
            nodes = sorted(gathered.beats)
            rows = [gathered.beats[node_id] for node_id in nodes]
            await tx.execute(
                _BEATS,
                {
                    "nodes": [str(node_id) for node_id in nodes],
                    "starts": [row.agent_start_id for row in rows],
                    "seqs": [row.number for row in rows],
                    "ats": [row.at_ns for row in rows],
                    "generations": [row.generation for row in rows],
                },
            )
        await _write_renewals(tx, gathered.renewed)


async def renew(ctx: Ctx, renewed: Mapping[str, int]) -> None:
    """Write these renewals at once. A lease that was closed meanwhile stays so."""
    async with ctx.db.begin() as tx:
        await _write_renewals(tx, renewed)


async def _write_renewals(tx: Tx, renewed: Mapping[str, int]) -> None:
    if renewed:
        keys = sorted(renewed)
        await tx.execute(_RENEWED, {"leases": keys, "ats": [renewed[key] for key in keys]})


async def _mark_reception(tx: Tx, boot_id: BootId, now_ns: int) -> None:
    await tx.execute(
        text(
            "INSERT INTO fleet_reception AS r (boot_id, since_ns, until_ns)"
            " VALUES (:boot_id, :now_ns, :now_ns) ON CONFLICT (boot_id) DO UPDATE SET"
            " since_ns = CASE WHEN excluded.until_ns - r.until_ns > :gap"
            " THEN excluded.since_ns ELSE r.since_ns END, until_ns = excluded.until_ns"
        ),
        {"boot_id": boot_id, "now_ns": now_ns, "gap": GAP_NS},
    )


async def write_evidence(ctx: Ctx, evidence: Mapping[str, int]) -> None:
    """Tell the meter which leases were seen alive."""
    if not evidence:
        return
    async with ctx.db.begin() as tx:
        await lease_evidence(tx, {LeaseId(key): evidence[key] for key in sorted(evidence)})


async def write_inventory(ctx: Ctx, node_id: NodeId, inventory: Inventory) -> None:
    """What the node consists of now. A GPU that is named on two nodes is sold on neither."""
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        await store.fleet_node(tx, node_id, lock=True)
        await tx.execute(delete(NodeGpu).where(NodeGpu.node_id == node_id))
        if inventory.gpus:
            columns = zip(*inventory.gpus, strict=True)
            names = ("uuids", "names", "mibs", "simulated", "lost", "used", "unhealthy")
            values = {name: list(column) for name, column in zip(names, columns, strict=True)}
            await tx.execute(_GPUS, {"node_id": str(node_id), **values})
        await tx.execute(
            update(FleetNode)
            .where(FleetNode.node_id == node_id)
            .values(
                engine=inventory.engine,
                nvml=inventory.nvml,
                agent_version=inventory.agent_version,
                xid=store.XID,
            )
            .execution_options(synchronize_session=False)
        )
        shared = await quarantine.shares_gpu(tx, node_id)
    if shared:
        async with ctx.db.begin() as tx:
            await quarantine.judge(tx, now_ns)


async def forget_old_reception(tx: Tx, before_ns: int) -> None:
    await tx.execute(delete(Reception).where(Reception.until_ns < before_ns))
