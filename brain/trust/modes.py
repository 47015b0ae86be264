"""Verbs on the modes of checks: shadow mode first, then by an administrator's word."""

from __future__ import annotations

from dataclasses import dataclass

from brain.plumbing import Ctx, audit
from brain.trust import standing
from brain.trust.core import kinds
from brain.trust.core.kinds import CheckKind, Mode, ModeNow
from brain.trust.store import findings
from brain.trust.store.findings import Count
from kernel.errors import NotFound
from kernel.ids import AccountId


@dataclass(frozen=True)
class KindNow:
    kind: CheckKind
    now: ModeNow
    changed_by: str
    count: Count


def kind_of(text: str) -> CheckKind:
    """The kind of that name, or ``NotFound`` that names them all."""
    try:
        return CheckKind(text)
    except ValueError:
        names = ", ".join(kind.value for kind in CheckKind)
        raise NotFound(f"There is no such kind of check. There are: {names}.") from None


async def every(ctx: Ctx) -> list[KindNow]:
    """All kinds with what was counted since their mode was set."""
    async with ctx.db.begin() as tx:
        now = await findings.modes(tx, ctx.clock.now_ns())
        counted = await findings.counts(tx, now)
        by = await findings.changed_by(tx)
    return [KindNow(kind, now[kind], by.get(kind.value, ""), counted[kind]) for kind in CheckKind]


async def put(ctx: Ctx, actor: AccountId, kind: CheckKind, wanted: Mode, days_min: int) -> None:
    """Set a mode; what the nodes' standing is follows in the same transaction."""
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        await findings.modes(tx, now_ns)
        row = await findings.mode_row(tx, kind)
        before = ModeNow(Mode(row.mode), row.since_ns)
        kinds.check_change(kind, before, wanted, now_ns, days_min)
        row.mode, row.since_ns, row.changed_by = wanted.value, now_ns, str(actor)
        await tx.flush()
        await standing.restand(tx, await findings.failed_nodes(tx, kind), now_ns)
        detail = {"before": before.mode.value, "after": wanted.value}
        await audit.record(tx, ctx, actor, "check_mode.set", kind.value, detail)
