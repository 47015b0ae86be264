"""Brings pods and volumes to what was asked, from the database alone: ends what is terminated,
bills what is kept, gives up what nobody pays for. Safe to run many times at once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import structlog

from brain import deployments
from brain.plumbing import Ctx, Tx, changes, moves, work
from brain.pods import service, store, volume_store, volumes
from brain.pods.beats import STRAY_NS
from brain.pods.models import Pod, Volume
from brain.pods.states import POD, PodEvent, PodLife, VolumeState
from kernel.ids import PodId, VolumeId, WorkId

log = structlog.get_logger(__name__)

BATCH = 32
PAGE = 500
HOLD_SECONDS = 30
AGAIN_SECONDS = 2.0  # until a pod that ends is looked at again
FAULT_SECONDS = 5.0


async def reconcile_pods(
    ctx: Ctx, *, owner: str, grace_days: int = 7, halt: Callable[[], bool] = lambda: False
) -> int:
    """One pass over what is due; returns how many rows were worked on."""
    done = await _pods(ctx, owner, halt) + await _places(ctx, halt)
    return done + await _volumes(ctx, grace_days, halt)


async def _pods(ctx: Ctx, owner: str, halt: Callable[[], bool]) -> int:
    done = 0
    while not halt():
        token = str(ctx.ids.new(WorkId))
        async with ctx.db.begin() as tx:
            rows = await work.take(
                tx,
                Pod,
                now=ctx.clock.now(),
                owner=owner,
                token=token,
                lease_seconds=HOLD_SECONDS,
                limit=BATCH,
            )
            ids = [row.pod_id for row in rows]
        for pod_id in ids:
            await _guarded(ctx, pod_id, token)
        done += len(ids)
        if len(ids) < BATCH:
            break
    return done


async def _guarded(ctx: Ctx, pod_id: PodId, token: str) -> None:
    """A step whose failure touches no other pod."""
    try:
        async with ctx.db.begin() as tx:
            row = await store.find(tx, pod_id, lock=True)
            assert row is not None, "a pod's row is never deleted"
            seconds = await _step(tx, ctx, row)
            await _finish(tx, ctx, row, token, seconds)
    except Exception as failure:  # whatever it is, the other rows go on
        log.error("pod_step_failed", pod=pod_id, failure=type(failure).__name__, exc_info=failure)
        async with ctx.db.begin() as tx:
            row = await store.find(tx, pod_id)
            assert row is not None, "a pod's row is never deleted"
            await _finish(tx, ctx, row, token, FAULT_SECONDS)


async def _finish(tx: Tx, ctx: Ctx, row: Pod, token: str, seconds: float | None) -> None:
    due = None if seconds is None else ctx.clock.now() + timedelta(seconds=seconds)
    await tx.flush()
    await work.finish(tx, row, token, due_at=due)


async def _step(tx: Tx, ctx: Ctx, pod: Pod) -> float | None:
    """The next thing for this pod; seconds until it is looked at again, None: when nudged."""
    if pod.state == PodLife.TERMINATING.value:
        return await _end(tx, ctx, pod)
    return None


async def _places(ctx: Ctx, halt: Callable[[], bool]) -> int:
    """Pods whose volumes were given a place that has not reported them."""
    async with ctx.db.begin() as tx:
        ids = await volume_store.pods_with_unseen(tx, limit=PAGE)
    done = 0
    for pod_id in ids:
        if halt():
            break
        async with ctx.db.begin() as tx:
            pod = await store.find(tx, pod_id, lock=True)
            assert pod is not None, "a pod's row is never deleted"
            done += await _unpin(tx, ctx, pod)
    return done


async def _unpin(tx: Tx, ctx: Ctx, pod: Pod) -> bool:
    """Volumes that were given a place which never had them are free to lie elsewhere, once no
    run of the pod is left there."""
    runs = await deployments.own_held(tx, pod.deployment_id)
    rows = await volume_store.of_pod(tx, pod.pod_id, lock=True)
    waiting = [row for row in rows if row.state == VolumeState.NEW.value and row.node_id]
    if not waiting or await service.unclosed(tx, runs) is not None:
        return False
    await volumes.take_place_back(tx, waiting)
    if all(row.node_id is None for row in rows):
        await deployments.pin_own(tx, pod.deployment_id, None, "")
        said = "no volume of it lies on a node: any will do"
        await deployments.own_note(tx, ctx, pod.deployment_id, "free to move", said)
    return True


async def _end(tx: Tx, ctx: Ctx, pod: Pod) -> float | None:
    """Its container is gone by evidence: then its volumes are free, or go as well."""
    if not await deployments.end_own(tx, ctx, pod.deployment_id):
        return AGAIN_SECONDS
    runs = await service.runs_of(tx, pod.deployment_id)
    if await service.unclosed(tx, runs) is not None:
        return AGAIN_SECONDS
    for row in await volume_store.of_pod(tx, pod.pod_id, lock=True):
        row.pod_id = None
        await tx.flush()
        if pod.delete_volumes:
            await volumes.delete(tx, ctx, row, "its pod was terminated with its volumes")
    pod.ended_ns = ctx.clock.now_ns()
    await moves.move(tx, pod, POD, PodEvent.END, reason="its work is gone", at=ctx.clock.now())
    await changes.mark(tx, "pod", pod.pod_id)
    return None


async def _volumes(ctx: Ctx, grace_days: int, halt: Callable[[], bool]) -> int:
    after, done = "", 0
    while not halt():
        async with ctx.db.begin() as tx:
            page = await volume_store.to_look_at(tx, after=after, limit=PAGE)
        for volume_id in page:
            try:
                done += await _volume(ctx, volume_id, grace_days)
            except Exception as failure:  # of this volume alone: the others must not wait for it
                failed = type(failure).__name__
                log.error("volume_not_billed", volume=volume_id, failure=failed, exc_info=failure)
        if len(page) < PAGE:
            break
        after = page[-1]
    await _without_node(ctx, halt)
    async with ctx.db.begin() as tx:
        await volume_store.forget_strays(tx, ctx.clock.now_ns() - STRAY_NS)
    return done


async def _volume(ctx: Ctx, volume_id: VolumeId, grace_days: int) -> bool:
    async with ctx.db.begin() as tx:
        row = await volume_store.held(tx, volume_id)
        if row is None or row.state != VolumeState.KEPT.value:
            return False
        if await _in_use_after_grace(tx, ctx, row, grace_days):
            return False
        if await volumes.follow_credit(tx, ctx, row, grace_days):
            return True
        return await volumes.bill(tx, ctx, row, ends=False)


async def _without_node(ctx: Ctx, halt: Callable[[], bool]) -> None:
    """What lay on a node that was removed is lost, and said to be."""
    async with ctx.db.begin() as tx:
        lost = await volume_store.without_node(tx, limit=PAGE)
    for volume_id in lost:
        if halt():
            break
        async with ctx.db.begin() as tx:
            row = await volume_store.held(tx, volume_id)
            if row is not None and not await _in_use(tx, row):
                await volumes.lose(tx, ctx, row)


async def _in_use_after_grace(tx: Tx, ctx: Ctx, row: Volume, grace_days: int) -> bool:
    """Its time is over, and a run of its pod is not proved to have ended: nothing is removed."""
    if row.grace_ns is None:
        return False
    if ctx.clock.now_ns() < volumes.lapses_ns(row.grace_ns, grace_days):
        return False
    return await _in_use(tx, row)


async def _in_use(tx: Tx, row: Volume) -> bool:
    """A run of its pod is not proved to have ended."""
    if row.pod_id is None:
        return False
    pod = await store.find(tx, row.pod_id)
    assert pod is not None, "a pod's row is never deleted"
    return await service.unclosed(tx, await service.runs_of(tx, pod.deployment_id)) is not None
