"""Verdicts on checks: reached outside of any transaction, then kept with what follows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b

import msgspec

from brain.plumbing import Ctx, Tx
from brain.plumbing.moves import move
from brain.trust import standing
from brain.trust.core import classes, judge
from brain.trust.core.classes import Size, Yardstick
from brain.trust.core.judge import Times
from brain.trust.core.kinds import CheckKind, Finding, Mode
from brain.trust.core.steps import Next
from brain.trust.models import WorkCheck
from brain.trust.states import CHECK, LIVE, CheckEvent, CheckState
from brain.trust.store import checks as store
from brain.trust.store import findings as finding_store
from brain.trust.store import reliability
from kernel import workproof as proof
from kernel.clock import NS
from kernel.ids import CheckId
from kernel.reliability import Event, EventKind
from kernel.wire.agent import CheckOrder, CheckSample, CheckTold

AGAIN_NS = 600 * NS  # a node that failed is checked again, to be sure and to be let back
MS = 1_000_000


@dataclass(frozen=True)
class Verdict:
    event: CheckEvent
    reason: str
    findings: tuple[Finding, ...]


def reach(
    row: WorkCheck,
    group: Sequence[WorkCheck],
    what: Next,
    yardstick: Yardstick,
    chance: bytes,
    now_ns: int,
    simulated: bool,
) -> Verdict:
    """What a check's end says. Takes a while of one core: call it in a thread."""
    if what is Next.CONTRADICTED:
        reason = "It tells of a check's work on a GPU on which a lease's work ran at that time."
        found = [Finding(CheckKind.ABORT, row.gpu_uuid, False, now_ns, reason)]
    elif what is Next.REFUSED:
        told = _told(row)
        others = [
            one.gpu_uuid
            for one in group
            if one.check_id != row.check_id and one.handed_ns and not one.refused_ns
            if one.state in LIVE or one.state == CheckState.PASSED.value
        ]
        found = judge.refused(told, row.gpu_uuid, others, now_ns)
        if not found:
            return Verdict(CheckEvent.END, told.reason[:400] or "It was refused.", ())
    elif what is Next.LATE:
        waited = now_ns - (row.handed_ns or row.asked_ns)
        found = judge.silent(row.gpu_uuid, waited // MS, now_ns)
    else:
        found = _opened(row, group, yardstick, chance, now_ns, simulated)
    bad = [one for one in found if not one.passed]
    if bad:
        return Verdict(CheckEvent.FAIL, bad[0].reason[:400], tuple(found))
    return Verdict(CheckEvent.PASS, "It holds, answers and is as fast as told.", tuple(found))


def _opened(
    row: WorkCheck,
    group: Sequence[WorkCheck],
    yardstick: Yardstick,
    chance: bytes,
    now_ns: int,
    simulated: bool,
) -> list[Finding]:
    order = msgspec.json.decode(row.ordered, type=CheckOrder)
    order.recall = row.recall_key
    sample = msgspec.json.decode(row.sample or b"", type=CheckSample)
    told = _told(row)
    key = proof.check_key(
        bytes.fromhex(order.seed),
        order.check_id,
        str(row.node_id),
        row.host_boot_id,
        order.gpu_uuid,
    )
    secret = [
        int.from_bytes(blake2b(chance + place.to_bytes(4, "big"), digest_size=8).digest(), "big")
        % proof.PRIME
        for place in range(order.matrix[2])
    ]
    wrong = judge.verify(key, order, sample, told, secret)
    asked = Size(order.blocks, order.block_bytes, order.readings, order.matrix, order.products)
    times = _times(row, asked, yardstick, simulated)
    crowded = any(one.refused_ns is not None for one in group if one.check_id != row.check_id)
    return judge.opened(wrong, told, times, row.gpu_uuid, crowded=crowded, at_ns=now_ns)


def _times(row: WorkCheck, asked: Size, yardstick: Yardstick, simulated: bool) -> Times:
    assert row.handed_ns is not None, "it was opened"
    assert row.committed_ns is not None, "it was opened"
    recalled = (row.recalled_ns or 0) - (row.recall_ns or row.recalled_ns or 0)
    expected = yardstick.expected_ms(row.gpu_name, asked, simulated=simulated)
    again = yardstick.recall_ms(row.gpu_name, asked, simulated=simulated)
    return Times(
        worked=(row.committed_ns - row.handed_ns) // MS,
        worked_max=None if expected is None else classes.limit_ms(expected),
        recalled=recalled // MS,
        recalled_max=None if again is None else classes.limit_ms(again),
    )


def _told(row: WorkCheck) -> CheckTold:
    return msgspec.json.decode(row.told or b"", type=CheckTold)


async def close(ctx: Ctx, check_id: CheckId, verdict: Verdict) -> bool:
    """Keep a verdict once, and what it means for its node."""
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        row = await store.any_locked(tx, check_id)
        if row is None:
            return False
        if row.state == CheckState.ENDED.value:
            row.contradicted_ns = None  # judged now; it ended before
            await tx.flush()
        elif row.state in (CheckState.PASSED.value, CheckState.FAILED.value):
            return False
        else:
            await move(tx, row, CHECK, verdict.event, reason=verdict.reason, at=ctx.clock.now())
        await keep(tx, row, verdict.findings, now_ns)
        if verdict.event is CheckEvent.FAIL:
            await store.due_by(tx, row.node_id, now_ns + AGAIN_NS)
    return True


async def keep(tx: Tx, row: WorkCheck, findings: Sequence[Finding], now_ns: int) -> None:
    """Write findings down; an enforced failure that counts withholds the node and its score."""
    modes = await finding_store.modes(tx, now_ns)
    await finding_store.add(tx, row.check_id, row.node_id, row.host_boot_id, findings, modes)
    await standing.restand(tx, [row.node_id], now_ns)
    bad = [f for f in findings if not f.passed and modes[f.kind].mode is Mode.ENFORCED]
    said = await standing.against(tx, row.node_id, now_ns) if bad else set()
    events = [
        Event(now_ns, EventKind.FAILED_CHECK, f"{row.check_id}/{f.kind.value}", 0, f.reason)
        for f in bad
        if (f.kind, f.gpu_uuid) in said
    ]
    await reliability.add_events(tx, [(row.node_id, event) for event in events])
