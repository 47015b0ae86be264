"""Brings deployments and replicas to what was asked, from the database alone. Safe to run many
times at once; a tick only wakes it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

import structlog

from brain import billing, fleet, offers, provisioning
from brain.deployments import core, measures, rollouts, scaling, store
from brain.deployments.models import Deployment, Replica
from brain.deployments.placing import Places, place, plan_batch
from brain.deployments.ports import NoOwnWork, OwnWork
from brain.deployments.recipes import crash_window_ns, recipe_of
from brain.deployments.service import ask_stop
from brain.deployments.states import TERMINAL, Asked, ReplicaEvent, ReplicaState
from brain.deployments.unpaid import unpaid_of
from brain.plumbing import Ctx, Tx, changes, work
from brain.scheduling import Plan
from brain.secrets import Vault
from catalog import Catalog
from kernel.clock import NS
from kernel.errors import Conflict, NotFound
from kernel.ids import DeploymentId, ReplicaId, WorkId

log = structlog.get_logger(__name__)

BATCH = 32
AT_ONCE = 8
HOLD_SECONDS = 30  # a row is another's after this, should we die
PASS_SECONDS = 5  # one call works no longer than this
RUNNING_SECONDS = 10  # how often a running deployment is looked at with no news
STOPPING_SECONDS = 30
LEARN_NS = 120 * NS  # a ready worker tells of its cache at the next look at its gauges
FAULT_SECONDS = 5  # until a row whose step failed is tried again
MOVES_MAX = 4  # states passed in one step, such as CLAIMED to READY to DRAINING

Step = Callable[[store.Saved], Awaitable[None]]


@dataclass(frozen=True)
class Round:
    """What one pass works with."""

    ctx: Ctx
    catalog: Catalog
    places: Places
    owner: str


async def reconcile_due(
    ctx: Ctx,
    catalog: Catalog,
    vault: Vault,
    *,
    owner: str,
    lease_ttl_seconds: int = 600,
    market: offers.Market | None = None,
    own_work: OwnWork | None = None,
    images: provisioning.CloudImages | None = None,
    halt: Callable[[], bool] = lambda: False,
) -> int:
    """Work on what is due until nothing is, or five seconds are over. Returns the steps made.

    ``market``, kept from call to call, saves reading what has not changed. ``images`` says which
    clouds run an image of a renter's own.

    ``halt`` is asked between batches: a worker that is told to stop leaves nothing half done.
    """
    market = market or offers.Market(ctx)
    places = Places(
        ctx,
        lease_ttl_seconds,
        market,
        vault,
        own_work or NoOwnWork(),
        images or provisioning.CloudImages(),
    )
    turn = Round(ctx, catalog, places, owner)
    until_ns = ctx.clock.monotonic_ns() + PASS_SECONDS * NS
    steps = 0
    while ctx.clock.monotonic_ns() < until_ns and not halt():
        done = await _deployments(turn) + await _replicas(turn)
        if not done:
            break
        steps += done
    return steps


async def _deployments(turn: Round) -> int:
    token = str(turn.ctx.ids.new(WorkId))
    rows = await _take(turn, Deployment, token)
    ids = [row.deployment_id for row in rows]
    await _each([_guarded(turn, Deployment, i, token, _deployment_step(turn, i)) for i in ids])
    return len(ids)


async def _replicas(turn: Round) -> int:
    token = str(turn.ctx.ids.new(WorkId))
    rows = await _take(turn, Replica, token)
    ids = [row.replica_id for row in rows]
    plans = await _planned(turn, rows)
    steps = [(i, _replica_step(turn, i, plans.get(i))) for i in ids]
    await _each([_guarded(turn, Replica, i, token, step) for i, step in steps])
    return len(ids)


async def _planned(turn: Round, rows: list[Replica]) -> dict[ReplicaId, Plan]:
    """Plans made together; where that fails each replica plans for itself, and says so."""
    try:
        return await plan_batch(turn.ctx, turn.catalog, turn.places, rows)
    except Exception as failure:
        log.error("batch_not_planned", failure=type(failure).__name__, exc_info=failure)
        return {}


async def _take(turn: Round, model: type[work.WorkT], token: str) -> list[work.WorkT]:
    async with turn.ctx.db.begin() as tx:
        return await work.take(
            tx,
            model,
            now=turn.ctx.clock.now(),
            owner=turn.owner,
            token=token,
            lease_seconds=HOLD_SECONDS,
            limit=BATCH,
        )


async def _each(steps: list[Awaitable[None]]) -> None:
    """All of them, a few at once; each meets its own failures."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(awaited: Awaitable[None]) -> None:
        async with gate:
            await awaited

    await asyncio.gather(*(one(step) for step in steps))


async def _guarded(
    turn: Round, model: type[work.Work], row_id: str, token: str, step: Step
) -> None:
    """One step whose failure touches no other row: it is logged, and the row is due again."""
    ctx = turn.ctx

    async def saved(tx: Tx, row: work.Work, seconds: float | None) -> None:
        due = None if seconds is None else store.later(ctx, seconds)
        await tx.flush()
        if not await work.finish(tx, row, token, due_at=due):
            raise store.Stale

    try:
        await step(saved)
        return
    except store.Stale:
        log.info("step_was_late", row=row_id)
        return
    except Conflict as raced:
        log.info("step_raced", row=row_id, detail=raced.detail)
    except Exception as failure:  # whatever it is, the other rows go on
        log.error("step_failed", row=row_id, failure=type(failure).__name__, exc_info=failure)
    await _again(turn, model, row_id, token)


async def _again(turn: Round, model: type[work.Work], row_id: str, token: str) -> None:
    """Let go of a row whose step failed. Should this fail too, its hold runs out."""
    try:
        async with turn.ctx.db.begin() as tx:
            row = await tx.get(model, row_id)
            if row is not None:
                await work.finish(tx, row, token, due_at=store.later(turn.ctx, FAULT_SECONDS))
    except Exception as failure:  # the database is away: the hold runs out by itself
        log.warning("row_not_released", row=row_id, failure=type(failure).__name__)


def _deployment_step(turn: Round, deployment_id: DeploymentId) -> Step:
    async def step(saved: store.Saved) -> None:
        ctx = turn.ctx
        async with ctx.db.begin() as tx:
            row = await store.find_held(tx, deployment_id)
            assert row is not None, "a deployment's row is never deleted"
            now_ns = ctx.clock.now_ns()
            since_ns = now_ns - crash_window_ns(row)
            replicas = await store.replicas(tx, deployment_id, since_ns=since_ns)
            view = await _view(tx, row, replicas)
            if await scaling.look(tx, ctx, row, view):
                view = replace(view, replicas=row.replicas, rollout_ns=row.rollout_ns)
            seen = await rollouts.views(tx, row, replicas, now_ns)
            decision = core.decide(view, seen, now_ns)
            await _apply(tx, turn, row, replicas, decision)
            await saved(tx, row, _deployment_due(row, replicas, decision, now_ns))

    return step


async def _view(tx: Tx, row: Deployment, replicas: list[Replica]) -> core.DeploymentView:
    stopped = await unpaid_of(tx, row)
    used_ns = ready_ns = None
    if row.idle_stop_seconds is not None:
        used_ns = await billing.last_used_ns(tx, row.deployment_id)
        ready_ns = await store.newest_ready_ns(tx, row.deployment_id, row.asked_ns)
    spent_nano = 0
    if row.budget_nano is not None:
        spending = await billing.spending(tx, row.deployment_id)
        spent_nano = spending.nano + spending.in_seconds(RUNNING_SECONDS)
    return core.DeploymentView(
        asked=Asked(row.asked),
        replicas=row.replicas,
        broken=row.broken_ns is not None,
        account_stopped=stopped,
        started_ns=row.asked_ns,
        max_duration_seconds=row.max_duration_seconds,
        idle_stop_seconds=row.idle_stop_seconds,
        last_used_ns=used_ns,
        ready_ns=ready_ns,
        budget_nano=row.budget_nano,
        spent_nano=spent_nano,
        revision=row.revision,
        stable=row.stable_revision,
        max_surge=row.max_surge,
        max_unavailable=row.max_unavailable,
        rollout_ns=row.rollout_ns,
        progress_seconds=rollouts.progress_seconds(row, replicas),
        crash_window_ns=crash_window_ns(row),
    )


async def _apply(
    tx: Tx, turn: Round, row: Deployment, replicas: list[Replica], decision: core.Decision
) -> None:
    ctx = turn.ctx
    await rollouts.apply(tx, ctx, row, decision)
    if decision.ask_stop is not None:
        ask_stop(ctx, row, decision.ask_stop)
        await store.note(tx, ctx, row.deployment_id, "stop asked", decision.ask_stop)
        await changes.mark(tx, "deployment", row.deployment_id)
    if decision.breaks is not None:
        row.broken_ns = ctx.clock.now_ns()
        row.broken_reason = decision.breaks
        await store.note(tx, ctx, row.deployment_id, "failed", decision.breaks)
        await changes.mark(tx, "deployment", row.deployment_id)
    by_id = {replica.replica_id: replica for replica in replicas}
    for replica_id, reason in decision.stop:
        replica = by_id[replica_id]
        replica.stop_asked_ns = ctx.clock.now_ns()
        replica.stop_reason = reason
        await tx.flush()
        await work.nudge(tx, Replica, replica_id, ctx.clock.now())
    if decision.add:
        recipe = await recipe_of(tx, turn.catalog, row)
        for _ in range(decision.add):
            await store.add_replica(
                tx,
                ctx,
                row,
                due_ns=decision.add_due_ns,
                start_max=recipe.start_seconds_max,
                drain_max=row.drain_seconds or recipe.drain_seconds_max,
            )


def _deployment_due(
    row: Deployment, replicas: list[Replica], decision: core.Decision, now_ns: int
) -> float | None:
    if row.deleted_at is not None:
        return None
    if row.asked == Asked.STOPPED.value:
        live = any(ReplicaState(r.state) not in TERMINAL for r in replicas)
        return STOPPING_SECONDS if live else None
    most = scaling.LOOK_SECONDS if scaling.follows(row) and row.replicas else RUNNING_SECONDS
    if decision.again_ns is None:
        return most
    return min(most, max(decision.again_ns - now_ns, 0) / NS)


def _replica_step(turn: Round, replica_id: ReplicaId, planned: Plan | None) -> Step:
    async def step(saved: store.Saved) -> None:
        async with turn.ctx.db.begin() as tx:
            row, deployment = await store.held_replica(tx, replica_id)
            waits = row.state == ReplicaState.PENDING.value
            if not waits or row.stop_asked_ns is not None:
                await _follow(tx, turn.ctx, deployment, row)
                await _learn(tx, turn, deployment, row)
                await saved(tx, row, core.again_seconds(ReplicaState(row.state)))
                return
        try:
            await place(turn.ctx, turn.catalog, turn.places, replica_id, saved, planned)
        except NotFound as unknown:
            log.error("model_left_the_catalog", row=replica_id, detail=unknown.detail)
            raise

    return step


async def _follow(tx: Tx, ctx: Ctx, deployment: Deployment, row: Replica) -> None:
    """Move a replica as far as what is asked of it and seen of its lease goes."""
    if row.state == ReplicaState.PENDING.value:
        await store.move_replica(tx, ctx, row, ReplicaEvent.CANCEL, row.stop_reason)
        return
    for _ in range(MOVES_MAX):
        state = ReplicaState(row.state)
        if state in TERMINAL:
            return
        assert row.lease_id is not None, "a replica that is placed holds a lease"
        lease = await fleet.lease(tx, row.lease_id)
        drained = state is ReplicaState.DRAINING and await _drained(tx, deployment, row)
        _count_restarts(row, lease, ctx.clock.now_ns())
        seen = _seen(row, lease)
        view = rollouts.replica_view(row)
        unpaid = view.stop_asked and await unpaid_of(tx, deployment)
        if unpaid:
            most = min(view.drain_seconds_max, core.UNPAID_DRAIN_SECONDS)
            view = replace(view, drain_seconds_max=most)
        decided = core.step(view, seen, drained=drained, now_ns=ctx.clock.now_ns())
        if decided is None:
            await _tell_stage(tx, row, lease)
            return
        await _make(tx, ctx, row, lease, decided, unpaid=unpaid)


async def _drained(tx: Tx, deployment: Deployment, row: Replica) -> bool:
    """Gateways know only workers of models; what is a launch of its own ends at once."""
    if deployment.own_launch is not None:
        return True
    return await billing.drained(tx, row.replica_id, row.state_ns)


async def _learn(tx: Tx, turn: Round, deployment: Deployment, row: Replica) -> None:
    """A worker that is ready of late shows what its model takes."""
    fresh = row.ready_ns is not None and turn.ctx.clock.now_ns() - row.ready_ns < LEARN_NS
    if not fresh or row.state != ReplicaState.READY.value or row.lease_id is None:
        return
    if deployment.own_launch is not None or row.revision != deployment.revision:
        return  # no model of the catalog: there is nothing to learn of
    lease = await fleet.lease(tx, row.lease_id)
    if lease is not None and lease.kv_tokens:
        await measures.learn(tx, turn.catalog.get(deployment.model), deployment, row, lease)


def _count_restarts(row: Replica, lease: fleet.LeaseView | None, now_ns: int) -> None:
    if lease is not None:
        found = core.newest_restarts(row.restarts_ns, row.restarts, lease.restarts, now_ns)
        row.restarts, row.restarts_ns = lease.restarts, found


async def _tell_stage(tx: Tx, row: Replica, lease: fleet.LeaseView | None) -> None:
    """While its machine is being rented: how far that is, and since when."""
    boots = lease is not None and lease.awaits_gpus and not lease.closed
    stage = await provisioning.stage_of(tx, row.replica_id) if boots else ""
    if row.waiting_reason != stage:
        row.waiting_reason = stage


async def _make(
    tx: Tx,
    ctx: Ctx,
    row: Replica,
    lease: fleet.LeaseView | None,
    decided: core.Move,
    *,
    unpaid: bool,
) -> None:
    """The replica's row is locked already; lease and node follow, as in the fleet's own order."""
    assert row.lease_id is not None, "a replica that is placed holds a lease"
    now_ns = ctx.clock.now_ns()
    if decided.event is ReplicaEvent.DRAIN:
        await billing.lease_mark(tx, row.lease_id, billing.LeaseMark.DRAINING, now_ns)
    if decided.stops_lease:
        most = core.UNPAID_DRAIN_SECONDS if unpaid else None
        await fleet.stop_lease(
            tx, row.lease_id, decided.reason, now_ns=now_ns, drain_seconds_max=most
        )
    row.crashes += decided.crashes
    reason = decided.reason
    if decided.event in (ReplicaEvent.DRAIN, ReplicaEvent.STOP) and row.stop_reason:
        reason = f"{row.stop_reason}: {reason}"
    await store.move_replica(tx, ctx, row, decided.event, reason)


def _seen(row: Replica, lease: fleet.LeaseView | None) -> core.Seen | None:
    if lease is None:
        return None
    return core.Seen(
        state=lease.seen_state,
        closed=lease.closed,
        stopping=lease.state == "stopping",
        silent=lease.silent,
        failed=lease.outcome == "failed",
        reason=lease.reason,
        restarts=len(row.restarts_ns),
        boots=lease.awaits_gpus,
        taken_ns=lease.joined_ns or 0,
    )
