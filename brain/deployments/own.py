"""Deployments that run a launch of their owner's own, for the rooms that make them: one worker,
placed, held, billed, guarded and explained like any other. They are not listed as deployments."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import select

from brain.deployments import service, store
from brain.deployments.models import Deployment, DeploymentEvent, Placement, Replica
from brain.deployments.recipes import POD, OwnLaunch, own_launch
from brain.deployments.states import TERMINAL, Asked, DeploymentState, ReplicaState
from brain.deployments.wishes import Wishes, wishes_of
from brain.plumbing import Ctx, Tx, changes, work
from kernel.ids import AccountId, DeploymentId, LeaseId, NodeId, ReplicaId
from kernel.money import Money

REPLICAS_SEEN = 16  # of one worker's runs, the newest


@dataclass(frozen=True)
class OwnWanted:
    """What is asked for. ``name`` is unique among the account's deployments."""

    name: str
    launch: OwnLaunch
    gpu: str | None = None
    price_max: Money | None = None
    max_duration_seconds: int | None = None
    budget: Money | None = None
    wishes: Wishes = field(default_factory=Wishes)


@dataclass(frozen=True)
class Run:
    """One worker: placed or waiting, and what became of it. Times in ns of business time."""

    replica_id: ReplicaId
    state: ReplicaState
    reason: str
    since_ns: int
    waiting_reason: str
    stop_asked: bool
    lease_id: LeaseId | None
    epoch: int
    node_id: NodeId | None
    gpus: int
    claimed_ns: int | None
    ready_ns: int | None
    ended_ns: int | None

    @property
    def live(self) -> bool:
        return self.state not in TERMINAL

    @property
    def serves(self) -> bool:
        """It runs, and nobody has asked it to stop."""
        return self.state is ReplicaState.READY and not self.stop_asked


@dataclass(frozen=True)
class OwnView:
    """``runs``: the oldest first, those that live among them."""

    deployment_id: DeploymentId
    state: DeploymentState
    asked: Asked
    asked_reason: str
    asked_ns: int
    broken_reason: str | None
    launch: OwnLaunch
    gpu: str | None
    price_max_nano: int | None
    max_duration_seconds: int | None
    budget_nano: int | None
    wishes: Wishes
    runs: tuple[Run, ...]

    @property
    def run(self) -> Run | None:
        """The run that counts: the newest that lives, else the newest."""
        live = [run for run in self.runs if run.live] or list(self.runs)
        return live[-1] if live else None


async def create_own(tx: Tx, ctx: Ctx, account_id: AccountId, wanted: OwnWanted) -> DeploymentId:
    """Write down what is asked; the reconciler places it."""
    own = wanted.launch
    row = Deployment(
        deployment_id=ctx.ids.new(DeploymentId),
        account_id=account_id,
        name=wanted.name,
        model=own.launch.image,
        kind=POD,
        pool=False,
        rate_nano=0,
        ceiling_prompt_nano=0,
        ceiling_completion_nano=0,
        gpu=wanted.gpu,
        context=0,
        concurrency=0,
        asked=Asked.RUNNING.value,
        asked_reason="asked",
        asked_ns=ctx.clock.now_ns(),
        replicas=1,
        price_max_nano=wanted.price_max.nano if wanted.price_max else None,
        max_duration_seconds=wanted.max_duration_seconds,
        budget_nano=wanted.budget.nano if wanted.budget else None,
        wishes=wanted.wishes.kept(),
        own_launch=own.kept(),
        created_at=ctx.clock.now(),
        due_at=ctx.clock.now(),
    )
    tx.add(row)
    await tx.flush()
    await store.note(tx, ctx, row.deployment_id, "created", f"{row.model} was asked for")
    return row.deployment_id


async def start_own(tx: Tx, ctx: Ctx, deployment_id: DeploymentId) -> None:
    """Ask it to run again. May be repeated."""
    row = await _locked(tx, deployment_id)
    if row.asked == Asked.RUNNING.value and row.broken_ns is None:
        return
    row.asked = Asked.RUNNING.value
    row.asked_reason = "asked"
    row.asked_ns = ctx.clock.now_ns()
    row.broken_ns = row.broken_reason = None
    await _tell(tx, ctx, row, "start asked", "asked")


async def stop_own(tx: Tx, ctx: Ctx, deployment_id: DeploymentId, reason: str) -> None:
    """Ask for the end of its worker. May be repeated."""
    row = await _locked(tx, deployment_id)
    if row.asked == Asked.RUNNING.value:
        service.ask_stop(ctx, row, reason)
        await _tell(tx, ctx, row, "stop asked", reason)


async def pin_own(tx: Tx, deployment_id: DeploymentId, node_id: NodeId | None, why: str) -> None:
    """From now on it may stand on this node alone (None: anywhere)."""
    row = await _locked(tx, deployment_id)
    assert row.own_launch is not None, "only work with a launch of its own is pinned"
    row.own_launch = row.own_launch | {"node_id": str(node_id or ""), "why_there": why}
    await tx.flush()


async def end_own(tx: Tx, ctx: Ctx, deployment_id: DeploymentId) -> bool:
    """Put it away if it is stopped; its events and bills stay. False: it is not stopped yet."""
    row = await _locked(tx, deployment_id)
    found = await service.whole(tx, row)
    if found.state is not DeploymentState.STOPPED:
        return False
    if row.deleted_at is None:
        row.deleted_at = ctx.clock.now()
        row.due_at = None
        await store.note(tx, ctx, row.deployment_id, "deleted", "asked")
    return True


async def own_views(tx: Tx, deployment_ids: list[DeploymentId]) -> dict[DeploymentId, OwnView]:
    """As they stand; the deleted as well."""
    found = {}
    for deployment_id in deployment_ids:
        row = await store.find(tx, deployment_id)
        assert row is not None, "a deployment's row is never deleted"
        replicas = await store.newest_replicas(tx, deployment_id, REPLICAS_SEEN)
        found[deployment_id] = _view(service.Whole(row, replicas))
    return found


async def own_held(tx: Tx, deployment_id: DeploymentId) -> OwnView:
    """As it stands, and held: no worker of it is given a place meanwhile."""
    row = await _locked(tx, deployment_id)
    return _view(await service.whole(tx, row))


@dataclass(frozen=True)
class Reached:
    """How work with a launch of its own can be reached now: ``lease_id`` None: not at all."""

    launch: OwnLaunch
    reason: str  # why it was asked to stop, or why it failed; "" = nothing to say
    lease_id: LeaseId | None
    epoch: int


async def own_reached(
    tx: Tx, deployment_ids: Sequence[DeploymentId]
) -> dict[DeploymentId, Reached]:
    """In one statement, for the whole of what fronts are told."""
    ready = (
        (Replica.deployment_id == Deployment.deployment_id)
        & (Replica.state == ReplicaState.READY.value)
        & Replica.stop_asked_ns.is_(None)
    )
    rows = await tx.execute(
        select(Deployment, Replica.lease_id, Replica.epoch)
        .outerjoin(Replica, ready)
        .where(Deployment.deployment_id.in_(deployment_ids), Deployment.own_launch.is_not(None))
        .order_by(Deployment.deployment_id, Replica.replica_id)
        .execution_options(populate_existing=True)
    )
    found = {}
    for row, lease_id, epoch in rows:
        assert row.own_launch is not None, "selected by it"
        why = row.asked_reason if row.asked == Asked.STOPPED.value else row.broken_reason or ""
        found[row.deployment_id] = Reached(
            own_launch(row.own_launch), "" if why == "asked" else why, lease_id, epoch or 0
        )
    return found


async def own_events(
    tx: Tx, deployment_id: DeploymentId, *, after: tuple[int, str] | None, limit: int
) -> list[DeploymentEvent]:
    """The oldest first; one more than ``limit`` when there is more."""
    return await store.events(tx, deployment_id, after=after, limit=limit)


async def own_note(tx: Tx, ctx: Ctx, deployment_id: DeploymentId, what: str, reason: str) -> None:
    """Write down what happened to it, for people."""
    await store.note(tx, ctx, deployment_id, what, reason)


async def own_placement(tx: Tx, deployment_id: DeploymentId) -> Placement | None:
    """The last plan made for it."""
    return await store.placement(tx, deployment_id)


async def _locked(tx: Tx, deployment_id: DeploymentId) -> Deployment:
    row = await store.find_held(tx, deployment_id)
    assert row is not None, "a deployment's row is never deleted"
    return row


async def _tell(tx: Tx, ctx: Ctx, row: Deployment, what: str, reason: str) -> None:
    await tx.flush()
    await work.nudge(tx, Deployment, row.deployment_id, ctx.clock.now())
    await store.note(tx, ctx, row.deployment_id, what, reason)
    assert row.own_launch is not None, "told only of work with a launch of its own"
    await changes.mark(tx, "pod", row.own_launch["pod_id"])


def _view(found: service.Whole) -> OwnView:
    row = found.deployment
    assert row.own_launch is not None, "asked only of work with a launch of its own"
    return OwnView(
        deployment_id=row.deployment_id,
        state=found.state,
        asked=Asked(row.asked),
        asked_reason=row.asked_reason,
        asked_ns=row.asked_ns,
        broken_reason=row.broken_reason,
        launch=own_launch(row.own_launch),
        gpu=row.gpu,
        price_max_nano=row.price_max_nano,
        max_duration_seconds=row.max_duration_seconds,
        budget_nano=row.budget_nano,
        wishes=wishes_of(row.wishes),
        runs=tuple(_run(replica) for replica in found.replicas),
    )


def _run(row: Replica) -> Run:
    return Run(
        replica_id=row.replica_id,
        state=ReplicaState(row.state),
        reason=row.state_reason,
        since_ns=row.state_ns,
        waiting_reason=row.waiting_reason,
        stop_asked=row.stop_asked_ns is not None,
        lease_id=row.lease_id,
        epoch=row.epoch,
        node_id=row.node_id,
        gpus=row.gpus,
        claimed_ns=row.claimed_ns,
        ready_ns=row.ready_ns,
        ended_ns=row.ended_ns,
    )
