"""Begins checks of idle GPUs and carries them on: asked, recalled, opened, judged.

No GPU is held back for a check: whoever claims it has it, and the check is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from heapq import nsmallest

import msgspec

from brain import fleet
from brain.fleet import GpuNow
from brain.marketplace import accounts_nodes
from brain.plumbing import Ctx, Tx
from brain.plumbing.moves import create, move
from brain.trust import verdicts
from brain.trust.core import classes, steps
from brain.trust.core.kinds import CheckKind, Finding, Mode
from brain.trust.core.steps import Next
from brain.trust.models import NodeTrust, WorkCheck
from brain.trust.states import CHECK, CheckEvent
from brain.trust.store import checks as store
from brain.trust.store import findings as finding_store
from brain.trust.terms import TrustTerms
from kernel.clock import NS
from kernel.ids import CheckId, NodeId, WorkId
from kernel.wire.agent import CheckOrder, CheckSample

NODES_A_TICK = 20
GROUP_MAX = 64
LIVE_MAX = 1_000
HEARD_NS = 40 * NS
BUSY_SECONDS = 600  # a node whose GPUs are all in use is looked at again
AWAY_SECONDS = 60
UNTABLED_MS = 600_000
BLOCKS_OPENED = 32  # of all readings, one of each at least
ROWS_OPENED = 4
WORK_KINDS = tuple(kind for kind in CheckKind if kind is not CheckKind.PREFLIGHT)


def chance(ctx: Ctx) -> bytes:
    """32 bytes that nobody can foretell, from the injected source of ids."""
    fresh = b"".join(ctx.ids.new(WorkId).uuid.bytes for _ in range(4))
    return blake2b(fresh, digest_size=32).digest()


async def begin_due(ctx: Ctx, terms: TrustTerms) -> int:
    """Begin the checks of nodes that are due, with all idle GPUs of the same provider at the
    same time, so that none can stand for two. Returns how many GPUs are checked."""
    if not terms.check_seconds:
        return 0
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        modes = await finding_store.modes(tx, now_ns)
        if all(modes[kind].mode is Mode.OFF for kind in WORK_KINDS):
            return 0
        due = await store.due_nodes(tx, now_ns, NODES_A_TICK)
        if not due:
            return 0
        family = await accounts_nodes(tx, [row.node_id for row in due])
        begun = 0
        done: set[NodeId] = set()
        for row in due:
            mates = family.get(row.node_id, ())
            if row.node_id not in done:
                begun += await _begin_group(tx, ctx, terms, row, mates, done)
        return begun


async def _begin_group(
    tx: Tx,
    ctx: Ctx,
    terms: TrustTerms,
    row: NodeTrust,
    mates: Sequence[NodeId],
    done: set[NodeId],
) -> int:
    now_ns = ctx.clock.now_ns()
    nodes = [row.node_id, *_some(mates, row.node_id, chance(ctx))]
    gpus = await fleet.gpus_now(tx, nodes, now_ns - HEARD_NS)
    running = await store.checked_gpus(tx, nodes)
    idle = [gpu for gpu in gpus if _may_check(gpu, terms) and _key(gpu) not in running]
    if not any(gpu.node_id == row.node_id for gpu in idle):
        heard = any(gpu.node_id == row.node_id for gpu in gpus)
        row.due_ns = now_ns + (BUSY_SECONDS if heard else AWAY_SECONDS) * NS
        await tx.flush()
        return 0
    group = sorted(idle, key=lambda gpu: gpu.node_id != row.node_id)[:GROUP_MAX]
    group_id = str(ctx.ids.new(WorkId))
    for gpu in group:
        await _ask(tx, ctx, terms, gpu, group_id)
    done |= {gpu.node_id for gpu in group}
    spread = int.from_bytes(chance(ctx)[:4], "big") % 1000  # at a time that nobody can foretell
    row.due_ns = now_ns + terms.check_seconds * (500 + spread) * NS // 1000
    await tx.flush()
    return len(group)


def _some(mates: Sequence[NodeId], own: NodeId, key: bytes) -> list[NodeId]:
    """As many as a group may need, others each time: a provider may have thousands of nodes."""
    others = (mate for mate in mates if mate != own)
    return nsmallest(GROUP_MAX, others, key=lambda one: blake2b(one.encode(), key=key).digest())


def _may_check(gpu: GpuNow, terms: TrustTerms) -> bool:
    able = gpu.simulated or bool(terms.check_image)
    return able and not (gpu.held or gpu.lost or gpu.foreign_use)


def _key(gpu: GpuNow) -> tuple[NodeId, str]:
    return gpu.node_id, gpu.gpu_uuid


async def _ask(tx: Tx, ctx: Ctx, terms: TrustTerms, gpu: GpuNow, group_id: str) -> None:
    now_ns, check_id = ctx.clock.now_ns(), ctx.ids.new(CheckId)
    asked = terms.yardstick.size(gpu.name, gpu.memory_mib, simulated=gpu.simulated)
    expected = terms.yardstick.expected_ms(gpu.name, asked, simulated=gpu.simulated)
    limit_ms = UNTABLED_MS if expected is None else classes.limit_ms(expected)
    deadline_ns = steps.deadline_ns(now_ns, limit_ms)
    order = CheckOrder(
        check_id=str(check_id),
        gpu_uuid=gpu.gpu_uuid,
        seed=chance(ctx).hex(),
        blocks=asked.blocks,
        block_bytes=asked.block_bytes,
        readings=asked.readings,
        matrix=asked.matrix,
        products=asked.products,
        seconds_max=(deadline_ns - now_ns) // NS,
        image="" if gpu.simulated else terms.check_image,
    )
    row = WorkCheck(
        check_id=check_id,
        group_id=group_id,
        node_id=gpu.node_id,
        gpu_uuid=gpu.gpu_uuid,
        gpu_name=gpu.name,
        host_boot_id=gpu.host_boot_id,
        ordered=msgspec.json.encode(order),
        recall_key="",
        asked_ns=now_ns,
        deadline_ns=deadline_ns,
    )
    await create(tx, row, CHECK, reason="its time came", at=ctx.clock.now())
    wrong = terms.yardstick.impossible(gpu.name, gpu.memory_mib)
    told = Finding(CheckKind.INVENTORY, gpu.gpu_uuid, not wrong, now_ns, wrong)
    await verdicts.keep(tx, row, [told], now_ns)


@dataclass(frozen=True)
class _Scene:
    """What one step looks at, read once."""

    rows: dict[str, list[WorkCheck]]  # by group
    gpus: dict[tuple[NodeId, str], GpuNow]


async def step(ctx: Ctx, terms: TrustTerms) -> int:
    """Carry every check under way on. Returns how many moved. Safe many times at once."""
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        rows = await store.live(tx, LIVE_MAX)
        rows += await store.contradicted(tx)
        nodes = sorted({row.node_id for row in rows})
        gpus = await fleet.gpus_now(tx, nodes, now_ns - HEARD_NS) if nodes else []
        together = await store.of_groups(tx, sorted({row.group_id for row in rows}))
    groups: dict[str, list[WorkCheck]] = {}
    for row in together:
        groups.setdefault(row.group_id, []).append(row)
    scene = _Scene(groups, {_key(gpu): gpu for gpu in gpus})
    moved = 0
    for row in rows:
        moved += await _step(ctx, terms, row, scene)
    return moved


async def _step(ctx: Ctx, terms: TrustTerms, row: WorkCheck, scene: _Scene) -> bool:
    gpu = scene.gpus.get((row.node_id, row.gpu_uuid))
    around = steps.Around(
        held=gpu is not None and gpu.held,
        heard=gpu is not None,
        same_boot=gpu is None or gpu.host_boot_id == row.host_boot_id,
    )
    group = scene.rows[row.group_id]
    now_ns = ctx.clock.now_ns()
    step_ = steps.decide(store.view(row), [store.view(one) for one in group], around, now_ns)
    if step_.what is Next.WAIT:
        return False
    if step_.what is Next.RECALL:
        return await _advance(ctx, row, CheckEvent.RECALL, recall_key=chance(ctx).hex())
    if step_.what is Next.OPEN:
        sample = msgspec.json.encode(_sample(ctx, row))
        return await _advance(ctx, row, CheckEvent.OPEN, sample=sample)
    if step_.what is Next.DROP:
        return await _advance(ctx, row, CheckEvent.END, reason=step_.why)
    simulated = gpu is not None and gpu.simulated
    found = await asyncio.to_thread(
        verdicts.reach, row, group, step_.what, terms.yardstick, chance(ctx), now_ns, simulated
    )
    return await verdicts.close(ctx, row.check_id, found)


async def _advance(ctx: Ctx, row: WorkCheck, event: CheckEvent, **values: object) -> bool:
    """Move a check on, if it still is as it was read."""
    reason = str(values.pop("reason", event.value))
    async with ctx.db.begin() as tx:
        now = await store.locked(tx, row.check_id)
        if now is None or now.version != row.version:
            return False
        for name, value in values.items():
            setattr(now, name, value)
        await move(tx, now, CHECK, event, reason=reason, at=ctx.clock.now())
    return True


def _sample(ctx: Ctx, row: WorkCheck) -> CheckSample:
    """Blocks of every reading and rows of one product, chosen after all was committed to."""
    order = msgspec.json.decode(row.ordered, type=CheckOrder)
    drawn = _numbers(chance(ctx))
    readings = [*range(order.readings + 1)]
    readings += [next(drawn) % len(readings) for _ in range(BLOCKS_OPENED - len(readings))]
    blocks = sorted({(reading, next(drawn) % order.blocks) for reading in readings})
    rows = sorted({next(drawn) % order.matrix[0] for _ in range(ROWS_OPENED)})
    return CheckSample(blocks=blocks, product=next(drawn) % order.products, rows=rows)


def _numbers(seed: bytes) -> Iterator[int]:
    """Numbers without end, each from a hash of its own."""
    number = 0
    while True:
        number += 1
        yield int.from_bytes(
            blake2b(seed + number.to_bytes(8, "big"), digest_size=8).digest(), "big"
        )
