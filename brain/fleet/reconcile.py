"""One look at the whole fleet: who is silent, what has run out. Levels only; safe N times at once.

Nothing here depends on having seen an event: everything is read from the rows, decided by pure
functions, and applied one lease or node a transaction, guarded by what was read.
"""

from __future__ import annotations

from dataclasses import dataclass

import structlog
from sqlalchemy import ColumnElement, Text, func, or_, select, type_coerce, update
from sqlalchemy.exc import DBAPIError

from brain.fleet import batch, core, leases, quarantine, store
from brain.fleet.core import NodeLiveness
from brain.fleet.models import FleetNode, NodeBeat
from brain.fleet.ports import LeaseWatcher, NobodyWatches
from brain.marketplace import Node
from brain.plumbing import Ctx, Tx
from kernel.clock import NS
from kernel.ids import NodeId

PAGE = 500
RECEPTION_KEPT_NS = 24 * 3600 * NS

_log = structlog.get_logger()


@dataclass(frozen=True)
class FleetStep:
    """What one look did. ``frozen``: why the mass-loss guard held back; ``wrong``: leases and
    held GPUs that contradict each other. People are told of both."""

    silent: tuple[str, ...] = ()
    heard: tuple[str, ...] = ()
    lost: int = 0
    frozen: str = ""
    wrong: tuple[str, ...] = ()


async def reconcile_leases(ctx: Ctx, *, watcher: LeaseWatcher | None = None) -> FleetStep:
    """Mark silent nodes, let heard ones back, close leases whose time ran out."""
    watched = watcher or NobodyWatches()
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        spans = await store.reception(tx)
        nodes, others = await _doubtful(tx, now_ns)
        await quarantine.judge(tx, now_ns)
        wrong = tuple(await store.contradictions(tx))
        await batch.forget_old_reception(tx, now_ns - RECEPTION_KEPT_NS)
    since_ns, heard = core.receiving_since(spans, now_ns), core.hearing(spans, now_ns)
    found = core.silence(nodes, heard.since_ns, heard.until_ns, others=others)
    if found.frozen:
        _log.error("evictions_frozen", reason=found.frozen)
    if wrong:
        _log.error("leases_contradict_gpus", found=wrong)
    for node_id in found.fallen:
        await _mark_silent(ctx, watched, NodeId(node_id))
    for node_id in found.risen:
        await _mark_heard(ctx, watched, NodeId(node_id))
    lost = await _close_run_out(ctx, watched, since_ns, now_ns)
    return FleetStep(
        silent=found.fallen, heard=found.risen, lost=lost, frozen=found.frozen, wrong=wrong
    )


_LIVENESS = (
    select(type_coerce(FleetNode.node_id, Text), NodeBeat.last_seen_ns, FleetNode.silent_since_ns)
    .join(NodeBeat, NodeBeat.node_id == FleetNode.node_id)
    .join(Node, Node.node_id == FleetNode.node_id)
    .where(Node.revoked_at.is_(None))
)


async def _doubtful(tx: Tx, now_ns: int) -> tuple[list[NodeLiveness], int]:
    """Those that were not heard of late or are marked, and how many others there are: of these
    nothing is to be decided, and to read thousands of them took most of a tick."""
    quiet = NodeBeat.last_seen_ns <= now_ns - core.SILENT_NS
    rows = await tx.execute(_LIVENESS.where(or_(quiet, FleetNode.silent_since_ns.is_not(None))))
    found = [NodeLiveness(*row) for row in rows]
    count = await tx.scalar(_LIVENESS.with_only_columns(func.count(), maintain_column_froms=True))
    return found, (count or 0) - len(found)


async def _liveness(tx: Tx, node_id: NodeId) -> list[NodeLiveness]:
    rows = await tx.execute(_LIVENESS.where(FleetNode.node_id == node_id))
    return [NodeLiveness(*row) for row in rows]


async def _mark_silent(ctx: Ctx, watcher: LeaseWatcher, node_id: NodeId) -> None:
    """Mark a node silent if it still is: this process may have stood still since it looked."""
    async with ctx.db.begin() as tx:
        await _wake(tx, watcher, node_id)
        now_ns = ctx.clock.now_ns()
        heard = core.hearing(await store.reception(tx), now_ns)
        for node in await _liveness(tx, node_id):
            silent = core.is_silent(node, heard.since_ns, heard.until_ns)
            if node.silent_since_ns is not None or not silent:
                continue
            unheard = select(NodeBeat.node_id).where(
                NodeBeat.node_id == node_id, NodeBeat.last_seen_ns <= node.last_seen_ns
            )
            await _set_silent(tx, node_id, heard.until_ns, FleetNode.node_id.in_(unheard))
            _log.warning("node_silent", node_id=node_id)


async def _mark_heard(ctx: Ctx, watcher: LeaseWatcher, node_id: NodeId) -> None:
    async with ctx.db.begin() as tx:
        await _wake(tx, watcher, node_id)
        await _set_silent(tx, node_id, None, FleetNode.silent_since_ns.is_not(None))
    _log.warning("node_heard", node_id=node_id)


async def _wake(tx: Tx, watcher: LeaseWatcher, node_id: NodeId) -> None:
    """Tell whoever has work on the node; before its row is locked, as everywhere."""
    for lease in await store.live_leases(tx, [node_id]):
        await watcher.lease_changed(tx, lease.replica_id)


async def _set_silent(
    tx: Tx, node_id: NodeId, silent_ns: int | None, still: ColumnElement[bool]
) -> None:
    await tx.execute(
        update(FleetNode)
        .where(FleetNode.node_id == node_id, still)
        .values(silent_since_ns=silent_ns, xid=store.XID)
        .execution_options(synchronize_session=False)
    )


async def _close_run_out(ctx: Ctx, watcher: LeaseWatcher, since_ns: int | None, now_ns: int) -> int:
    lost, after = 0, ""
    while True:
        async with ctx.db.begin() as tx:
            page = [store.facts(row) for row in await store.overdue_leases(tx, now_ns, after, PAGE)]
        for facts in page:
            if not core.run_out(facts, since_ns, now_ns):
                continue
            reason = "no sign of the node for the lease's time and grace"
            try:
                lost += await leases.lose(ctx, watcher, facts, reason, now_ns=now_ns)
            except DBAPIError as error:  # its turn comes again at the next look
                _log.warning("lease_not_closed", lease_id=facts.lease_id, failure=str(error)[:200])
        if len(page) < PAGE:
            return lost
        after = page[-1].lease_id
