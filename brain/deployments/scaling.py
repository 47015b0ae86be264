"""Deployments that follow their load: what gateways tell is kept, and decides how many replicas are
asked for. An owner who asks for a number, or stops it, has the last word."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import delete, select
from sqlalchemy.dialects.postgresql import insert

from brain import billing
from brain.deployments import core, rollouts, store
from brain.deployments.models import Deployment, DeploymentLoad
from brain.deployments.scaling_core import FORGOTTEN_NS, Memory, Terms, Told, decide
from brain.deployments.states import Asked
from brain.plumbing import Ctx, Tx, work
from kernel.errors import BadInput
from kernel.ids import DeploymentId
from kernel.wire.gateway import LoadReport

LOOK_SECONDS = 2  # how often one that runs is looked at; one that sleeps is woken
DOWN_SECONDS = 300  # as Kubernetes has it
ZERO_SECONDS = 300
TARGET_PERCENT = 80  # of the requests that a worker is made for
TERMS = (
    "min_replicas",
    "max_replicas",
    "target_in_flight",
    "scale_down_after_seconds",
    "scale_to_zero_after_seconds",
)


def follows(row: Deployment) -> bool:
    """Is it scaled by its load?"""
    return row.max_replicas is not None


def settle(row: Deployment, named: Collection[str]) -> None:
    """After its owner's word on ``named``: a plain number of replicas ends scaling by load, else
    they lie within the bounds. ``BadInput`` for bounds that cannot hold."""
    if "replicas" in named and not set(named) & set(TERMS):
        row.max_replicas = None
    if row.max_replicas is None:
        if any(getattr(row, name) is not None for name in TERMS) and set(named) & set(TERMS):
            _only_together(row, named)
        for name in TERMS:
            setattr(row, name, None)
        row.scaling_seen = {}
        return
    least = row.min_replicas = 1 if row.min_replicas is None else row.min_replicas
    if least > row.max_replicas:
        raise BadInput("min_replicas must not be more than max_replicas.", param="min_replicas")
    if row.replicas or least:
        row.replicas = min(max(row.replicas, least, 1), row.max_replicas)


def terms_of(row: Deployment) -> Terms:
    """With the defaults of what its owner left open."""
    assert row.max_replicas is not None, "it follows its load"
    return Terms(
        least=row.min_replicas or 0,
        most=row.max_replicas,
        target=row.target_in_flight or max(row.concurrency * TARGET_PERCENT // 100, 1),
        down_seconds=_or(row.scale_down_after_seconds, DOWN_SECONDS),
        zero_seconds=_or(row.scale_to_zero_after_seconds, ZERO_SECONDS),
    )


async def reported(ctx: Ctx, report: LoadReport) -> bool:
    """Keep what a gateway tells. True: requests wait, and the reconciler is to look at once.

    May be repeated; one that is lost is followed by another within a second.
    """
    now_ns = ctx.clock.now_ns()
    rows = [
        {
            "boot_id": report.boot_id,
            "deployment_id": load.deployment_id,
            "in_flight": load.in_flight,
            "waiting": load.waiting,
            "tokens_per_second": load.tokens_per_second,
            "caches": load.caches,
            "queued": load.queued,
            "seen_ns": now_ns,
        }
        for load in sorted(report.loads, key=lambda load: load.deployment_id)
    ]
    if rows:
        statement = insert(DeploymentLoad).values(rows)
        fresh = [name for name in rows[0] if name not in ("boot_id", "deployment_id")]
        async with ctx.db.begin() as tx:
            await tx.execute(
                statement.on_conflict_do_update(
                    index_elements=["boot_id", "deployment_id"],
                    set_={name: statement.excluded[name] for name in fresh},
                )
            )
    waiting = [load.deployment_id for load in report.loads if load.waiting]
    for deployment_id in waiting:  # each by itself: no two rows of others are held at once
        async with ctx.db.begin() as tx:
            await work.nudge(tx, Deployment, deployment_id, ctx.clock.now())
    return bool(waiting)


async def look(tx: Tx, ctx: Ctx, row: Deployment, view: core.DeploymentView) -> bool:
    """Ask for as many replicas as its load needs; True when that is another number. The row is
    held. Nothing is asked for against its owner's word, or that of a guard."""
    now_ns = ctx.clock.now_ns()
    halted = view.asked is not Asked.RUNNING or view.broken or core.guard(view, now_ns) is not None
    if not follows(row) or halted:
        return False
    used_ns = await billing.last_used_ns(tx, row.deployment_id)
    ready_ns = await store.newest_ready_ns(tx, row.deployment_id, row.asked_ns)
    verdict = decide(
        terms_of(row),
        await _told(tx, row.deployment_id, now_ns),
        _memory(row.scaling_seen),
        replicas=row.replicas,
        since_ns=max(used_ns or 0, ready_ns or 0, row.asked_ns),
        now_ns=now_ns,
    )
    row.scaling_seen = {
        "recommended": [list(pair) for pair in verdict.memory.recommended],
        "busy_ns": verdict.memory.busy_ns,
        "reason": verdict.reason,
    }
    before, row.replicas = row.replicas, verdict.replicas
    if before == verdict.replicas:
        return False
    if verdict.replicas > before:
        rollouts.renewed(ctx, row)
    await store.note(tx, ctx, row.deployment_id, _what(before, verdict.replicas), verdict.reason)
    return True


def said(row: Deployment) -> str:
    """The last decision, for people; empty: it does not follow its load."""
    return str(row.scaling_seen.get("reason", "")) if follows(row) else ""


async def _told(tx: Tx, deployment_id: DeploymentId, now_ns: int) -> list[Told]:
    """What gateways told; those that are gone are forgotten."""
    of_it = DeploymentLoad.deployment_id == deployment_id
    await tx.execute(
        delete(DeploymentLoad).where(of_it, DeploymentLoad.seen_ns <= now_ns - FORGOTTEN_NS)
    )
    found = await tx.scalars(
        select(DeploymentLoad).where(of_it).execution_options(populate_existing=True)
    )
    return [
        Told(
            one.in_flight,
            one.waiting,
            one.tokens_per_second,
            one.seen_ns,
            caches=one.caches,
            queued=one.queued,
        )
        for one in found
    ]


def _memory(kept: dict[str, Any]) -> Memory:
    recommended = tuple((int(at), int(count)) for at, count in kept.get("recommended", []))
    return Memory(recommended, int(kept.get("busy_ns", 0)))


def _what(before: int, after: int) -> str:
    if not after:
        return "put to sleep"
    if not before:
        return "woken"
    return "scaled up" if after > before else "scaled down"


def _only_together(row: Deployment, named: Collection[str]) -> None:
    given = [name for name in TERMS if name in named and getattr(row, name) is not None]
    if given:
        raise BadInput("Say max_replicas as well: it is scaled by its load then.", param=given[0])


def _or(given: int | None, default: int) -> int:
    return default if given is None else given
