"""Keeps what agents tell of their machines, and lets a fatal point count by its mode."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from brain.plumbing import Ctx
from brain.trust import standing
from brain.trust.core.kinds import CheckKind, Finding
from brain.trust.store import findings as store
from kernel.ids import CheckId, NodeId
from kernel.wire.agent import PreflightPoint, Severity


async def keep(ctx: Ctx, node_id: NodeId, at_ns: int, points: Sequence[PreflightPoint]) -> None:
    """A report, with its finding when it says something else than the last. May be repeated."""
    fatal = " ".join(f"{p.name}: {p.said}" for p in points if p.severity is Severity.FATAL)[:1000]
    shown = [msgspec.to_builtins(point) for point in points]
    plain = [{name: _plain(value) for name, value in one.items()} for one in shown]
    async with ctx.db.begin() as tx:
        if not await store.keep_report(tx, node_id, at_ns, plain, _plain(fatal)):
            return
        modes = await store.modes(tx, at_ns)
        found = Finding(CheckKind.PREFLIGHT, "", not fatal, at_ns, _plain(fatal))
        await store.add(tx, ctx.ids.new(CheckId), node_id, "", [found], modes)
        await standing.restand(tx, [node_id], at_ns)


def _plain(text: str) -> str:
    """As PostgreSQL takes it: no NUL, nothing that is not Unicode."""
    return str(text).replace("\x00", "").encode("utf-8", "replace").decode()
