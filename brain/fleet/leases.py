"""Verbs on leases: claim, stop, see what an agent reports, lose, look."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError

from brain import secrets
from brain.billing import (
    LeaseMark,
    LeaseOutcome,
    LeaseTerms,
    lease_closed,
    lease_mark,
    lease_opened,
)
from brain.fleet import core, store
from brain.fleet.core import LeaseFacts, Outcome
from brain.fleet.models import Lease, LeaseGpu, NodeGpu
from brain.fleet.ports import LeaseWatcher
from brain.fleet.states import LEASE, LeaseEvent, LeaseState
from brain.fleet.views import Claim, LeasedGpus, LeaseView
from brain.plumbing import Ctx, Tx
from brain.plumbing.moves import move
from kernel.clock import at_ns
from kernel.errors import Conflict, NoCapacity
from kernel.ids import Ids, LeaseId, NodeId
from kernel.wire.agent import LeaseSeen, LeaseSeenState


async def claim(tx: Tx, wanted: Claim, *, now_ns: int, ids: Ids) -> LeaseView:
    """Take GPUs of one node for a replica, in the caller's transaction.

    Raises ``NoCapacity`` when the node cannot be had (any more): plan again, then claim again.
    Raises ``OutOfCredit`` when the payer cannot pay. Nothing is kept if the caller rolls back.
    """
    assert wanted.gpu_count >= 1, "a claim is for at least one GPU"
    lease_id = ids.new(LeaseId)
    try:
        entered = await store.enter_claim(tx, lease_id, wanted, "claimed for a replica", now_ns)
    except IntegrityError as error:  # the index: the last word on double claims
        raise NoCapacity("These GPUs were taken by someone else just now.") from error
    node = entered.entry
    if node is None:
        raise NoCapacity(_REFUSED[entered.refused].format(entered.detail))
    await lease_opened(tx, terms_of(lease_id, wanted, node, now_ns), ids)
    return LeaseView(
        lease_id=lease_id,
        replica_id=wanted.replica_id,
        deployment_id=wanted.deployment_id,
        node_id=wanted.node_id,
        epoch=node.epoch,
        gpu_uuids=entered.gpu_uuids,
        state=LEASE.start,
        reason="claimed for a replica",
        opened_ns=now_ns,
        seen_state=None,
        port=0,
        restarts=0,
        silent=False,
        closed_ns=None,
        outcome=None,
    )


# What the plan saw may have changed since: the claim looks again under the node's lock.
_REFUSED = {
    "unknown": "This node is not in the fleet.",
    "withdrawn": "This node is not offered any more.",
    "quarantined": "This node is in quarantine: {}.",
    "silent": "This node is not heard.",
    "withheld": "This node is not sold: {}",
    "maintenance": "This node is about to be in maintenance.",
    "dearer": "This node became dearer meanwhile.",
    "taken": "The GPUs of this node were taken by someone else meanwhile.",
}


async def stop_lease(
    tx: Tx, lease_id: LeaseId, reason: str, *, now_ns: int, drain_seconds_max: int | None = None
) -> None:
    """Ask for the end of a lease. May be repeated; a lease that ends already is left alone.
    ``drain_seconds_max``: its work has no longer than this to end, whatever its launch says."""
    row = await store.lease(tx, lease_id, lock=True)
    if row is None or row.state != LeaseState.OPEN.value:
        return
    row.stop_asked_ns = now_ns
    if drain_seconds_max is not None:
        store.hurry(row, drain_seconds_max)
    await move(tx, row, LEASE, LeaseEvent.STOP, reason=core.plain(reason)[:500], at=at_ns(now_ns))
    await store.raise_generation(tx, row.node_id)


async def lease(tx: Tx, lease_id: LeaseId) -> LeaseView | None:
    """The lease as it stands, or None when there is no such lease."""
    row = await store.lease(tx, lease_id)
    if row is None:
        return None
    uuids = (await store.lease_gpus(tx, [lease_id])).get(lease_id, ())
    node = await store.fleet_node(tx, row.node_id)
    return view_of(row, uuids, silent=node is not None and node.silent_since_ns is not None)


async def see(
    ctx: Ctx, watcher: LeaseWatcher, node_id: NodeId, seen: LeaseSeen, *, now_ns: int
) -> None:
    """Keep what a node's agent reports of a lease, and what follows from it. May be repeated.

    A report of another node's lease, of an old epoch or of a closed lease changes nothing.
    """
    async with ctx.db.begin() as tx:
        row = await locked(tx, watcher, LeaseId(seen.lease_id))
        if row is None or row.node_id != node_id or row.epoch != seen.epoch:
            return
        await take_in(tx, row, seen, now_ns=now_ns)


async def take_in(tx: Tx, row: Lease, seen: LeaseSeen, *, now_ns: int) -> None:
    """What is reported of a lease that :func:`locked` answered with, and what follows from it."""
    report = core.read(store.facts(row), seen)
    _keep_seen(row, seen, now_ns)
    await tx.flush()
    if report.loading:
        await lease_mark(tx, row.lease_id, LeaseMark.LOADING, now_ns)
    if report.ready:
        await lease_mark(tx, row.lease_id, LeaseMark.READY, now_ns)
    if report.stop:
        await stop_lease(tx, row.lease_id, report.stop, now_ns=now_ns)
    if report.close is not None:
        event, said = LeaseEvent.RELEASE, seen.reason or "the work is gone, the GPUs are free"
        await close(tx, row, event, report.close, said, now_ns)
    elif not report.stop:
        await store.touch_node(tx, row.node_id)


async def give_up(ctx: Ctx, watcher: LeaseWatcher, lease_id: LeaseId, reason: str) -> None:
    """Ask for the end of a lease on the fleet's own account. May be repeated."""
    async with ctx.db.begin() as tx:
        row = await locked(tx, watcher, lease_id)
        if row is not None:
            await stop_lease(tx, lease_id, reason, now_ns=ctx.clock.now_ns())


async def lose(
    ctx: Ctx, watcher: LeaseWatcher, facts: LeaseFacts, reason: str, *, now_ns: int
) -> bool:
    """Close a lease without the agent's word, if it is still as ``facts`` say. True if closed."""
    async with ctx.db.begin() as tx:
        row = await locked(tx, watcher, LeaseId(facts.lease_id))
        if row is None or row.renewed_ns > facts.renewed_ns:
            return False
        await close(tx, row, LeaseEvent.LOSE, Outcome.LOST, reason, now_ns)
    return True


async def locked(tx: Tx, watcher: LeaseWatcher, lease_id: LeaseId) -> Lease | None:
    """The live lease, its watcher told first (see ``LeaseWatcher`` for why)."""
    row = await store.lease(tx, lease_id)
    if row is None or row.state == LeaseState.CLOSED.value:
        return None
    await watcher.lease_changed(tx, row.replica_id)
    row = await store.lease(tx, lease_id, lock=True)
    if row is None or row.state == LeaseState.CLOSED.value:
        return None
    return row


async def close(
    tx: Tx, row: Lease, event: LeaseEvent, outcome: Outcome, reason: str, now_ns: int
) -> None:
    """End a lease that :func:`locked` answered with: its GPUs are free, its bill stops."""
    row.closed_ns = now_ns
    row.outcome = outcome.value
    await move(tx, row, LEASE, event, reason=core.plain(reason)[:500], at=at_ns(now_ns))
    await store.release_gpus(tx, row.lease_id)
    await secrets.forget(tx, row.lease_id)
    await store.raise_generation(tx, row.node_id)
    billed_as = _billed_as(row, outcome, now_ns).value
    await lease_closed(tx, row.lease_id, now_ns, billed_as, silence_ns=core.SILENT_NS)


def _billed_as(row: Lease, outcome: Outcome, now_ns: int) -> LeaseOutcome:
    """Time after the last evidence is not billed to a lease that was lost, to one whose node took
    too long to stop, nor to one whose work ended unasked: it may have ended right after that."""
    asked = row.stop_asked_ns  # now_ns itself: the report that it is gone asked for it
    timely = asked is not None and asked < now_ns <= asked + core.STOPPING_BILLED_NS
    return LeaseOutcome.GONE if timely and outcome is not Outcome.LOST else LeaseOutcome.LOST


def terms_of(lease_id: LeaseId, wanted: Claim, node: store.Entry, now_ns: int) -> LeaseTerms:
    """What the meter is told: who pays what to whom for this lease."""
    if wanted.mode not in ("dedicated", "pool", "pod"):
        raise Conflict(f"There is no billing mode {wanted.mode!r}.")
    return LeaseTerms(
        lease_id=lease_id,
        epoch=node.epoch,
        payer=wanted.payer,
        provider=node.account_id,
        gpus=wanted.gpu_count,
        renter_rate_nano=node.price_nano,
        provider_rate_nano=node.price_nano,
        mode=wanted.mode,
        pool_rate_nano=wanted.pool_rate_nano,
        ceiling_prompt_nano=wanted.ceiling_prompt_nano,
        ceiling_completion_nano=wanted.ceiling_completion_nano,
        deployment_id=wanted.deployment_id,
        replica_id=wanted.replica_id,
        opened_ns=now_ns,
    )


async def gpus_of(tx: Tx, lease_id: LeaseId) -> LeasedGpus | None:
    """The GPUs that a lease holds; None while they are not known, or not any more."""
    row = (
        await tx.execute(
            select(
                func.min(NodeGpu.name).label("name"),
                func.min(NodeGpu.memory_mib).label("memory_mib"),
                func.bool_or(NodeGpu.simulated).label("simulated"),
            )
            .join(LeaseGpu, LeaseGpu.gpu_uuid == NodeGpu.gpu_uuid)
            .where(LeaseGpu.lease_id == lease_id, LeaseGpu.node_id == NodeGpu.node_id)
        )
    ).one()
    return None if row.name is None else LeasedGpus(row.name, row.memory_mib, row.simulated)


def _keep_seen(row: Lease, seen: LeaseSeen, now_ns: int) -> None:
    row.seen_state = seen.state.value
    row.seen_reason = core.plain(seen.reason)
    row.seen_port = seen.port
    row.seen_restarts = seen.restarts
    row.seen_kv_tokens = seen.kv_cache_tokens or row.seen_kv_tokens
    row.seen_ns = now_ns


def view_of(row: Lease, gpu_uuids: tuple[str, ...], *, silent: bool) -> LeaseView:
    """A lease's row as other rooms see it."""
    state = LeaseState(row.state)
    said = row.seen_reason if state is LeaseState.OPEN else ""
    return LeaseView(
        lease_id=row.lease_id,
        replica_id=row.replica_id,
        deployment_id=row.deployment_id,
        node_id=row.node_id,
        epoch=row.epoch,
        gpu_uuids=gpu_uuids,
        state=state,
        reason=said or row.state_reason,
        opened_ns=row.opened_ns,
        seen_state=None if row.seen_state is None else LeaseSeenState(row.seen_state),
        port=row.seen_port,
        restarts=row.seen_restarts,
        kv_tokens=row.seen_kv_tokens or 0,
        silent=silent,
        awaits_gpus=row.awaits_mib is not None,
        agentless=row.agentless,
        joined_ns=row.joined_ns,
        stop_asked_ns=row.stop_asked_ns,
        drain_seconds=store.drain_seconds(row),
        closed_ns=row.closed_ns,
        outcome=None if row.outcome is None else Outcome(row.outcome),
    )
