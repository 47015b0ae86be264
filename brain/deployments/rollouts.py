"""Revisions as they are kept: made by the owner's asks, ended by what their workers do."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from sqlalchemy import delete, func, select

from brain import billing
from brain.deployments import core, rollout_core, store
from brain.deployments.models import Deployment, DeploymentRevision, Replica
from brain.deployments.revisions import Settings, read_settings, settings_of
from brain.deployments.states import TERMINAL, ReplicaState
from brain.plumbing import Ctx, Tx, changes
from kernel.errors import Conflict, NotFound
from kernel.ids import DeploymentId

PROGRESS_SPARE_SECONDS = 60  # over the longest start and the longest drain


class Outcome(StrEnum):
    """What became of a revision; none while it is being rolled out."""

    COMPLETE = "complete"  # all its workers were ready
    SUPERSEDED = "superseded"  # another was asked for before that
    FAILED = "failed"  # given up: its workers did not get ready
    ROLLED_BACK = "rolled_back"  # its owner went back before that


async def first(tx: Tx, ctx: Ctx, row: Deployment) -> None:
    """Keep what a new deployment asks for as its first revision."""
    _add(tx, ctx, row, 1)
    await tx.flush()


async def ask(tx: Tx, ctx: Ctx, row: Deployment, wanted: Settings) -> bool:
    """Make ``wanted`` the next revision; False when it is what is asked for already."""
    if wanted == settings_of(row):
        return False
    newest = await tx.scalar(
        select(func.max(DeploymentRevision.number)).where(
            DeploymentRevision.deployment_id == row.deployment_id
        )
    )
    number = max(newest or 0, row.revision) + 1
    if row.stable_revision != row.revision:
        await _end(tx, ctx, row, Outcome.SUPERSEDED, f"revision {number} was asked for")
    wanted.write_to(row)
    row.revision = number
    row.rollout_reason = ""
    _renew(ctx, row)
    _add(tx, ctx, row, number)
    await tx.flush()
    await _forget(tx, row)
    return True


async def go_back(tx: Tx, ctx: Ctx, row: Deployment, number: int | None) -> int:
    """Ask for an earlier revision again: the last good one, or ``number``. Returns which.

    Raises ``Conflict`` when there is none to go back to, ``NotFound`` for a number that is not
    kept.
    """
    rolling = row.stable_revision is not None and row.stable_revision != row.revision
    if number is None:
        number = row.stable_revision if rolling else await _good_before(tx, row)
        if number is None:
            raise Conflict("There is no earlier revision whose workers all were ready.")
    if number == row.revision:
        raise Conflict(f"Revision {number} is what this deployment runs already.")
    if row.stable_revision != row.revision:
        await _end(tx, ctx, row, Outcome.ROLLED_BACK, f"its owner went back to {number}")
    await _return_to(tx, ctx, row, number)
    return number


async def apply(tx: Tx, ctx: Ctx, row: Deployment, decision: core.Decision) -> None:
    """What the reconciler decided about the rollout: it is complete, or it is given up."""
    if decision.completes:
        await _end(tx, ctx, row, Outcome.COMPLETE, "all its workers are ready")
        before = row.stable_revision
        row.stable_revision = row.revision
        if before is not None:
            await store.note(
                tx, ctx, row.deployment_id, "rolled out", f"revision {row.revision} is complete"
            )
    if decision.rolls_back is not None:
        assert row.stable_revision is not None, "there is a revision to go back to"
        failed, good = row.revision, row.stable_revision
        why = await _waits_for(tx, row) or decision.rolls_back
        reason = f"Revision {failed} was given up for revision {good}: {why}."
        await _end(tx, ctx, row, Outcome.FAILED, why)
        await _return_to(tx, ctx, row, good)
        row.rollout_reason = reason[:1000]
        await store.note(tx, ctx, row.deployment_id, "rolled back", reason)
        await changes.mark(tx, "deployment", row.deployment_id)


def renewed(ctx: Ctx, row: Deployment) -> None:
    """A fresh ask of the owner gives a rollout new time."""
    _renew(ctx, row)


async def views(
    tx: Tx, row: Deployment, replicas: Sequence[Replica], now_ns: int
) -> list[core.ReplicaView]:
    """Replicas as the decision needs them: with what the gateways told, where that matters."""
    rolling = any(
        r.revision != row.revision and ReplicaState(r.state) not in TERMINAL for r in replicas
    )
    ready = [r for r in replicas if r.state == ReplicaState.READY.value]
    busy: dict[str, int] = {}
    told: dict[str, bool] = {}
    if rolling or len(ready) > row.replicas:
        busy = await billing.in_flight(tx, [r.replica_id for r in ready], now_ns)
    if rolling and row.own_launch is None:
        for one in ready:
            if one.revision == row.revision:
                told[one.replica_id] = await billing.taken_up(tx, one.replica_id, one.state_ns)
    return [
        replica_view(r, told=told.get(r.replica_id, True), in_flight=busy.get(r.replica_id, 0))
        for r in replicas
    ]


def replica_view(row: Replica, *, told: bool = True, in_flight: int = 0) -> core.ReplicaView:
    return core.ReplicaView(
        replica_id=row.replica_id,
        state=ReplicaState(row.state),
        stop_asked=row.stop_asked_ns is not None,
        crashed_ns=row.crashed_ns,
        crashes=row.crashes,
        state_ns=row.state_ns,
        claimed_ns=row.claimed_ns or 0,
        start_seconds_max=row.start_seconds_max,
        drain_seconds_max=row.drain_seconds_max,
        revision=row.revision,
        told=told,
        in_flight=in_flight,
        ready_ns=row.ready_ns,
        ended_ns=row.ended_ns,
        reason=row.state_reason,
    )


def progress_seconds(row: Deployment, replicas: Sequence[Replica]) -> int:
    """How long a rollout may stand still: as asked, or the longest start and drain together."""
    if row.progress_seconds is not None:
        return row.progress_seconds
    longest = max((r.start_seconds_max + r.drain_seconds_max for r in replicas), default=2100)
    return longest + PROGRESS_SPARE_SECONDS


async def listed(
    tx: Tx, deployment_id: DeploymentId, *, before: int | None, limit: int
) -> list[DeploymentRevision]:
    """The newest first; one more than ``limit`` when there is more."""
    query = select(DeploymentRevision).where(DeploymentRevision.deployment_id == deployment_id)
    if before is not None:
        query = query.where(DeploymentRevision.number < before)
    found = await tx.scalars(query.order_by(DeploymentRevision.number.desc()).limit(limit + 1))
    return list(found)


async def _return_to(tx: Tx, ctx: Ctx, row: Deployment, number: int) -> None:
    kept = await tx.get(DeploymentRevision, (row.deployment_id, number))
    if kept is None:
        raise NotFound(f"This deployment has no revision {number}.", param="revision")
    read_settings(kept.settings).write_to(row)
    row.revision = number
    _renew(ctx, row)
    if row.stable_revision != number:  # it is rolled out anew, and may fail this time
        kept.outcome, kept.reason, kept.ended_ns = None, "", None
    await tx.flush()


async def _end(tx: Tx, ctx: Ctx, row: Deployment, outcome: Outcome, reason: str) -> None:
    kept = await tx.get(DeploymentRevision, (row.deployment_id, row.revision))
    if kept is not None:
        kept.outcome, kept.reason = outcome.value, reason[:1000]
        kept.ended_ns = ctx.clock.now_ns()
        await tx.flush()


async def _good_before(tx: Tx, row: Deployment) -> int | None:
    found: int | None = await tx.scalar(
        select(func.max(DeploymentRevision.number)).where(
            DeploymentRevision.deployment_id == row.deployment_id,
            DeploymentRevision.number < row.revision,
            DeploymentRevision.outcome == Outcome.COMPLETE.value,
        )
    )
    return found


async def _waits_for(tx: Tx, row: Deployment) -> str:
    """Why its workers have no place, if that is what it failed by."""
    found = await tx.scalar(
        select(Replica.waiting_reason)
        .where(
            Replica.deployment_id == row.deployment_id,
            Replica.revision == row.revision,
            Replica.state == ReplicaState.PENDING.value,
            Replica.waiting_reason != "",
        )
        .limit(1)
    )
    return "" if found is None else f"its workers found no place ({found.rstrip('.')})"


async def _forget(tx: Tx, row: Deployment) -> None:
    """Old revisions that nothing runs are not kept for ever."""
    await tx.execute(
        delete(DeploymentRevision).where(
            DeploymentRevision.deployment_id == row.deployment_id,
            DeploymentRevision.number <= row.revision - rollout_core.REVISIONS_KEPT,
            DeploymentRevision.number != row.stable_revision,
        )
    )


def _add(tx: Tx, ctx: Ctx, row: Deployment, number: int) -> None:
    tx.add(
        DeploymentRevision(
            deployment_id=row.deployment_id,
            number=number,
            settings=settings_of(row).kept(),
            asked_ns=ctx.clock.now_ns(),
            reason="",
        )
    )


def _renew(ctx: Ctx, row: Deployment) -> None:
    row.rollout_ns = ctx.clock.now_ns()
