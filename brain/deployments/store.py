"""All SQL of deployments but the gateways' rows (rows.py)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from sqlalchemy import func, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from brain.deployments.models import Deployment, DeploymentEvent, Placement, Replica
from brain.deployments.states import (
    REPLICA,
    TERMINAL,
    ReplicaEvent,
    ReplicaState,
)
from brain.plumbing import Ctx, Tx, changes, move, moves, work
from kernel.clock import at_ns
from kernel.errors import NotFound
from kernel.ids import AccountId, DeploymentId, EventId, ReplicaId

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Stale(Exception):
    """Another worker holds the row by now: roll back and forget."""


class Saved(Protocol):
    """Let go of the row within its last transaction, due again in ``seconds`` (None: never).

    Raises ``Stale`` when the row was taken over meanwhile.
    """

    async def __call__(self, tx: Tx, row: work.Work, seconds: float | None) -> None: ...


def later(ctx: Ctx, seconds: float) -> datetime:
    return ctx.clock.now() + timedelta(seconds=seconds)


async def load(
    tx: Tx, deployment_id: DeploymentId, owners: Sequence[AccountId], *, lock: bool = False
) -> Deployment:
    """The deployment of one of these accounts; ``NotFound`` when they have no such one."""
    query = select(Deployment).where(
        Deployment.deployment_id == deployment_id,
        Deployment.account_id.in_(owners),
        Deployment.deleted_at.is_(None),
        Deployment.own_launch.is_(None),  # what has its own is shown as what it is
    )
    if lock:
        query = query.with_for_update()
    found = await tx.scalar(query.execution_options(populate_existing=True))
    if found is None:
        raise NotFound(f"You have no deployment {deployment_id}.")
    return found


async def find_held(tx: Tx, deployment_id: DeploymentId) -> Deployment | None:
    """Locked for a step of the reconciler; None when it is gone."""
    return await tx.scalar(
        select(Deployment)
        .where(Deployment.deployment_id == deployment_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def find(tx: Tx, deployment_id: DeploymentId) -> Deployment | None:
    return await tx.get(Deployment, deployment_id)


async def held_replica(tx: Tx, replica_id: ReplicaId) -> tuple[Replica, Deployment]:
    """Both locked, the deployment first; then lease and node may be, never the other way."""
    found = await replica(tx, replica_id)
    assert found is not None, "a replica's row is never deleted"
    deployment = await find_held(tx, found.deployment_id)
    locked = await replica(tx, replica_id, lock=True)
    assert deployment is not None, "a replica has a deployment"
    assert locked is not None, "a replica's row is never deleted"
    return locked, deployment


async def by_name(tx: Tx, account_id: AccountId, name: str) -> Deployment | None:
    return await tx.scalar(
        select(Deployment).where(
            Deployment.account_id == account_id,
            Deployment.name == name,
            Deployment.deleted_at.is_(None),
        )
    )


async def page(tx: Tx, account_id: AccountId, *, after: str | None, limit: int) -> list[Deployment]:
    """Newest first (ids sort by birth); one more than ``limit`` when there is more."""
    query = select(Deployment).where(
        Deployment.account_id == account_id,
        Deployment.deleted_at.is_(None),
        Deployment.own_launch.is_(None),
    )
    if after is not None:
        query = query.where(Deployment.deployment_id < after)
    found = await tx.scalars(query.order_by(Deployment.deployment_id.desc()).limit(limit + 1))
    return list(found)


async def replicas(tx: Tx, deployment_id: DeploymentId, *, since_ns: int) -> list[Replica]:
    """Those that live and those that ended after ``since_ns``, the oldest first."""
    found = await tx.scalars(
        select(Replica)
        .where(
            Replica.deployment_id == deployment_id,
            Replica.ended_ns.is_(None) | (Replica.ended_ns >= since_ns),
        )
        .order_by(Replica.replica_id)
        .execution_options(populate_existing=True)
    )
    return list(found)


async def newest_replicas(tx: Tx, deployment_id: DeploymentId, limit: int) -> list[Replica]:
    """Those that live before those that ended, cut at ``limit``; then the oldest first."""
    found = await tx.scalars(
        select(Replica)
        .where(Replica.deployment_id == deployment_id)
        .order_by(Replica.ended_ns.is_(None).desc(), Replica.replica_id.desc())
        .limit(limit)
        .execution_options(populate_existing=True)
    )
    return sorted(found, key=lambda row: row.replica_id)


async def newest_ready_ns(tx: Tx, deployment_id: DeploymentId, since_ns: int) -> int | None:
    """When the newest replica got ready for the first time; None when none did in this run.

    One that was kept over a stop and a start belongs to this run, whenever it got ready.
    """
    kept = (Replica.state == ReplicaState.READY.value) & Replica.stop_asked_ns.is_(None)
    found: int | None = await tx.scalar(
        select(func.max(Replica.ready_ns)).where(
            Replica.deployment_id == deployment_id,
            (Replica.ready_ns >= since_ns) | kept,
        )
    )
    return found


async def models_by_node(tx: Tx, since_ns: int) -> dict[str, frozenset[str]]:
    """Models that were served on each node since then: their files may still lie there."""
    rows = await tx.execute(
        select(Replica.node_id, Deployment.model)
        .join(Deployment, Deployment.deployment_id == Replica.deployment_id)
        .where(Replica.ready_ns >= since_ns, Replica.node_id.is_not(None))
        .distinct()
    )
    found: dict[str, set[str]] = {}
    for node_id, model in rows:
        found.setdefault(str(node_id), set()).add(model)
    return {node_id: frozenset(models) for node_id, models in found.items()}


async def replica(tx: Tx, replica_id: ReplicaId, *, lock: bool = False) -> Replica | None:
    query = select(Replica).where(Replica.replica_id == replica_id)
    if lock:
        query = query.with_for_update()
    return await tx.scalar(query.execution_options(populate_existing=True))


async def add_replica(
    tx: Tx, ctx: Ctx, deployment: Deployment, *, due_ns: int, start_max: int, drain_max: int
) -> Replica:
    """A replica that waits for a place, due at ``due_ns``."""
    now = ctx.clock.now()
    row = Replica(
        replica_id=ctx.ids.new(ReplicaId),
        deployment_id=deployment.deployment_id,
        revision=deployment.revision,
        model=deployment.model,
        epoch=0,
        gpus=0,
        start_seconds_max=start_max,
        drain_seconds_max=drain_max,
        stop_reason="",
        attempts=0,
        crashes=0,
        restarts=0,
        restarts_ns=[],
        waiting_reason="",
        state_ns=ctx.clock.now_ns(),
        created_at=now,
        due_at=at_ns(due_ns),
    )
    await moves.create(tx, row, REPLICA, reason="asked for", at=now)
    await note(tx, ctx, deployment.deployment_id, "replica pending", "asked for", row.replica_id)
    return row


async def move_replica(tx: Tx, ctx: Ctx, row: Replica, event: ReplicaEvent, reason: str) -> None:
    """Take a replica through ``event``: state, times, what people and gateways are told."""
    now_ns = ctx.clock.now_ns()
    before = ReplicaState(row.state)
    await move(tx, row, REPLICA, event, reason=reason[:1000], at=ctx.clock.now())
    after = ReplicaState(row.state)
    row.state_ns = now_ns
    if after is ReplicaState.CLAIMED:
        row.claimed_ns = now_ns
    if after is ReplicaState.READY and row.ready_ns is None:
        row.ready_ns = now_ns
    if event is ReplicaEvent.CRASH:
        row.crashed_ns = now_ns
    if after in TERMINAL:
        row.ended_ns = now_ns
        await work.nudge(tx, Deployment, row.deployment_id, ctx.clock.now())
    if event in _NEWS:
        await work.nudge(tx, Deployment, row.deployment_id, ctx.clock.now())
    what = f"replica {after.value}"
    await note(tx, ctx, row.deployment_id, what, reason, row.replica_id)
    if before in _TOLD or after in _TOLD:
        await changes.mark(tx, "replica", row.replica_id)
        await changes.mark(tx, "deployment", row.deployment_id)
        deployment = await find(tx, row.deployment_id)
        if deployment is not None and deployment.own_launch is not None:
            await changes.mark(tx, "pod", deployment.own_launch["pod_id"])


async def set_drain(tx: Tx, deployment_id: DeploymentId, seconds: int) -> None:
    """From now on the live replicas have so long to drain."""
    await tx.execute(
        update(Replica)
        .where(Replica.deployment_id == deployment_id, Replica.ended_ns.is_(None))
        .values(drain_seconds_max=seconds)
        .execution_options(synchronize_session=False)
    )


async def note(
    tx: Tx,
    ctx: Ctx,
    deployment_id: DeploymentId,
    what: str,
    reason: str,
    replica_id: ReplicaId | None = None,
) -> None:
    """Write down what happened, for people."""
    tx.add(
        DeploymentEvent(
            event_id=ctx.ids.new(EventId),
            deployment_id=deployment_id,
            replica_id=replica_id,
            what=what,
            reason=reason[:1000],
            at_ns=ctx.clock.now_ns(),
        )
    )
    await tx.flush()


async def events(
    tx: Tx, deployment_id: DeploymentId, *, after: tuple[int, str] | None, limit: int
) -> list[DeploymentEvent]:
    """The oldest first; one more than ``limit`` when there is more."""
    query = select(DeploymentEvent).where(DeploymentEvent.deployment_id == deployment_id)
    order = tuple_(DeploymentEvent.at_ns, DeploymentEvent.event_id)
    if after is not None:
        query = query.where(order > after)
    found = await tx.scalars(
        query.order_by(DeploymentEvent.at_ns, DeploymentEvent.event_id).limit(limit + 1)
    )
    return list(found)


async def save_placement(tx: Tx, values: dict[str, Any]) -> None:
    statement = insert(Placement).values(**values)
    kept = {key: statement.excluded[key] for key in values if key != "deployment_id"}
    await tx.execute(statement.on_conflict_do_update(index_elements=["deployment_id"], set_=kept))


async def placement(tx: Tx, deployment_id: DeploymentId) -> Placement | None:
    return await tx.get(Placement, deployment_id)


_NEWS = frozenset({ReplicaEvent.ANSWER, ReplicaEvent.CRASH, ReplicaEvent.LOSE, ReplicaEvent.STOP})
_TOLD = frozenset({ReplicaState.READY, ReplicaState.DRAINING})
