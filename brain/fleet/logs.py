"""The newest lines of each lease's worker, kept once each however often they are sent."""

from __future__ import annotations

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from brain.fleet import core, store
from brain.fleet.models import LeaseLog
from brain.fleet.views import LogEntry
from brain.plumbing import Ctx
from kernel.errors import NotFound
from kernel.ids import LeaseId, NodeId
from kernel.wire.agent import LogBatch

LINES_KEPT = 2000


async def add_lines(ctx: Ctx, node_id: NodeId, batch: LogBatch) -> None:
    """Keep these lines. May be repeated. ``NotFound`` for a lease that is not this node's."""
    lease_id = LeaseId(core.plain(batch.lease_id))
    async with ctx.db.begin() as tx:
        lease = await store.lease(tx, lease_id)
        if lease is None or lease.node_id != node_id:
            raise NotFound("This node has no such lease.")
        newest = await tx.scalar(
            select(func.max(LeaseLog.number)).where(LeaseLog.lease_id == lease_id)
        )
        fresh = [
            {
                "lease_id": lease_id,
                "number": batch.first + offset,
                "at_ns": line.at_ns,
                "stream": core.plain(line.stream),
                "line": core.plain(line.text),
            }
            for offset, line in enumerate(batch.lines)
            if newest is None or batch.first + offset > newest
        ]
        if not fresh:
            return
        await tx.execute(insert(LeaseLog).values(fresh).on_conflict_do_nothing())
        last = batch.first + len(batch.lines) - 1
        await tx.execute(
            delete(LeaseLog).where(
                LeaseLog.lease_id == lease_id, LeaseLog.number <= last - LINES_KEPT
            )
        )


async def lease_logs(ctx: Ctx, lease_id: LeaseId, tail: int) -> list[LogEntry]:
    """The last ``tail`` lines of a lease's worker, oldest first; none when nothing was sent."""
    async with ctx.db.begin() as tx:
        rows = await tx.scalars(
            select(LeaseLog)
            .where(LeaseLog.lease_id == lease_id)
            .order_by(LeaseLog.number.desc())
            .limit(max(0, min(tail, LINES_KEPT)))
        )
        newest_first = list(rows)
    return [LogEntry(r.number, r.at_ns, r.stream, r.line) for r in reversed(newest_first)]
