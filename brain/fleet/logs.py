"""What each lease's worker wrote: kept once however often it is sent, bounded, without secrets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select, text
from sqlalchemy.dialects.postgresql import insert

from brain.fleet import core, store
from brain.fleet.models import LeaseLog, LeaseLogSize
from brain.fleet.views import LogEntry, LogRow
from brain.plumbing import Ctx, Tx
from brain.secrets import Vault
from kernel.errors import NotFound
from kernel.ids import LeaseId, NodeId
from kernel.masking import masked
from kernel.wire.agent import LogBatch

READ_MAX = 1000  # lines that one look gives
LEASES_MAX = 256  # that one look goes over
FORGET_MAX = 500  # leases whose lines one tidying drops
LINE_COSTS_BYTES = 32  # beside its text, so that empty lines are bounded too


@dataclass(frozen=True)
class LogTerms:
    """The most that is kept of one lease. Beyond it the oldest go, a quarter at a time."""

    lines_max: int = 10_000
    bytes_max: int = 4 << 20


async def add_lines(
    ctx: Ctx, vault: Vault, node_id: NodeId, batch: LogBatch, terms: LogTerms
) -> None:
    """Keep these lines. May be repeated. ``NotFound`` for a lease that is not this node's.

    Agents hide their leases' secrets before they send; what one let through is hidden here.
    """
    lease_id = LeaseId(core.plain(batch.lease_id))
    async with ctx.db.begin() as tx:
        lease = await store.lease(tx, lease_id)
        if lease is None or lease.node_id != node_id:
            raise NotFound("This node has no such lease.")
        size = await _size(tx, lease_id, ctx.clock.now())
        words = await vault.words_to_hide(tx, lease_id)
        fresh = [
            {
                "lease_id": lease_id,
                "number": batch.first + offset,
                "at_ns": line.at_ns,
                "stream": core.plain(line.stream),
                "line": masked(core.plain(line.text), words),
            }
            for offset, line in enumerate(batch.lines)
            if batch.first + offset > size.newest
        ]
        if not fresh:
            return
        await tx.execute(insert(LeaseLog).values(fresh).on_conflict_do_nothing())
        size.bytes += sum(_cost(row["line"]) for row in fresh)
        size.lines += len(fresh)
        size.newest = batch.first + len(batch.lines) - 1
        size.written_at = ctx.clock.now()
        if size.lines > terms.lines_max or size.bytes > terms.bytes_max:
            await _trim(tx, size, terms)


def _cost(line: Any) -> int:
    return len(str(line).encode()) + LINE_COSTS_BYTES


async def _size(tx: Tx, lease_id: LeaseId, now: datetime) -> LeaseLogSize:
    """How much is kept of this lease; one batch of a lease at a time."""
    empty = {"bytes": 0, "lines": 0, "newest": -1, "written_at": now}
    await tx.execute(
        insert(LeaseLogSize).values(lease_id=lease_id, **empty).on_conflict_do_nothing()
    )
    found = await tx.scalar(
        select(LeaseLogSize)
        .where(LeaseLogSize.lease_id == lease_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    assert found is not None, "inserted above"
    return found


_TRIM = text(
    """
    DELETE FROM lease_log WHERE lease_id = :lease AND number <= (
        SELECT max(number) FROM (
            SELECT number, row_number() OVER newest AS lines,
                   sum(octet_length(line) + :each) OVER newest AS bytes
            FROM lease_log WHERE lease_id = :lease
            WINDOW newest AS (ORDER BY number DESC)
        ) kept WHERE lines > :lines OR bytes > :bytes
    )
    """
)


async def _trim(tx: Tx, size: LeaseLogSize, terms: LogTerms) -> None:
    await tx.flush()
    bounds = {"lines": terms.lines_max * 3 // 4, "bytes": terms.bytes_max * 3 // 4}
    await tx.execute(_TRIM, {"lease": size.lease_id, "each": LINE_COSTS_BYTES, **bounds})
    left = (
        await tx.execute(
            select(
                func.count().label("lines"),
                func.coalesce(
                    func.sum(func.octet_length(LeaseLog.line) + LINE_COSTS_BYTES), 0
                ).label("bytes"),
            ).where(LeaseLog.lease_id == size.lease_id)
        )
    ).one()
    size.lines, size.bytes = left.lines, int(left.bytes)


async def forget_logs(tx: Tx, before: datetime) -> int:
    """Drop the lines of leases that wrote nothing since ``before``; how many leases it were."""
    old = list(
        await tx.scalars(
            select(LeaseLogSize.lease_id)
            .where(LeaseLogSize.written_at < before)
            .order_by(LeaseLogSize.written_at)
            .limit(FORGET_MAX)
            .with_for_update(skip_locked=True)
        )
    )
    if old:
        await tx.execute(delete(LeaseLog).where(LeaseLog.lease_id.in_(old)))
        await tx.execute(delete(LeaseLogSize).where(LeaseLogSize.lease_id.in_(old)))
    return len(old)


async def lease_logs(ctx: Ctx, lease_id: LeaseId, tail: int) -> list[LogEntry]:
    """The last ``tail`` lines of a lease's worker, oldest first; none when nothing was sent."""
    async with ctx.db.begin() as tx:
        rows = await tail_logs(tx, [lease_id], tail=max(0, tail))
    return [LogEntry(row.number, row.at_ns, row.stream, row.text) for row in rows]


_TAIL = text(
    """
    SELECT one.* FROM unnest(CAST(:leases AS text[])) AS l(id) CROSS JOIN LATERAL (
        SELECT g.* FROM lease_log g WHERE g.lease_id = l.id AND g.at_ns >= :since
        ORDER BY g.number DESC LIMIT :most
    ) one ORDER BY one.at_ns DESC, one.lease_id DESC, one.number DESC LIMIT :most
    """
)
_FOLLOWING = text(
    """
    SELECT one.* FROM unnest(CAST(:leases AS text[])) AS l(id) CROSS JOIN LATERAL (
        SELECT g.* FROM lease_log g WHERE g.lease_id = l.id AND g.at_ns >= :since
           AND (g.at_ns, g.lease_id, g.number) > (:at, CAST(:lease AS text), :number)
        ORDER BY g.at_ns, g.number LIMIT :most
    ) one ORDER BY one.at_ns, one.lease_id, one.number LIMIT :most
    """
)
_NEW = text(
    """
    SELECT one.* FROM unnest(CAST(:leases AS text[]), CAST(:numbers AS bigint[])) AS l(id, last)
    CROSS JOIN LATERAL (
        SELECT g.* FROM lease_log g WHERE g.lease_id = l.id AND g.number > l.last
        ORDER BY g.number LIMIT :most
    ) one ORDER BY one.at_ns, one.lease_id, one.number
    """
)


async def tail_logs(
    tx: Tx, lease_ids: Sequence[str], *, tail: int, since_ns: int = 0
) -> list[LogRow]:
    """The newest lines of these leases together, the oldest first."""
    assert len(lease_ids) <= LEASES_MAX, "a look goes over so many leases at most"
    values = {"leases": list(lease_ids), "since": since_ns, "most": min(tail, READ_MAX)}
    return _rows((await tx.execute(_TAIL, values)).all())[::-1]


async def page_of_logs(
    tx: Tx,
    lease_ids: Sequence[str],
    *,
    limit: int,
    after: tuple[int, str, int] | None = None,
    since_ns: int = 0,
) -> list[LogRow]:
    """Lines after ``after`` (time, lease, number), the oldest first: for pages over what was."""
    assert len(lease_ids) <= LEASES_MAX, "a look goes over so many leases at most"
    at, lease, number = after or (-1, "", -1)
    values = {"leases": list(lease_ids), "since": since_ns, "most": min(limit, READ_MAX + 1)}
    found = await tx.execute(_FOLLOWING, {**values, "at": at, "lease": lease, "number": number})
    return _rows(found.all())


async def newest_logs(tx: Tx, lease_ids: Sequence[str]) -> dict[str, int]:
    """The number of each lease's newest line; what wrote nothing is left out."""
    rows = await tx.execute(
        select(LeaseLogSize.lease_id, LeaseLogSize.newest).where(
            LeaseLogSize.lease_id.in_(lease_ids)
        )
    )
    return {str(row.lease_id): int(row.newest) for row in rows}


async def new_logs(tx: Tx, newest: Mapping[str, int], *, limit: int = 200) -> list[LogRow]:
    """What came after the newest known line of each lease, ``limit`` of each: for followers, who
    miss no line whatever the clocks of the nodes say."""
    assert len(newest) <= LEASES_MAX, "a look goes over so many leases at most"
    values = {"leases": list(newest), "numbers": list(newest.values()), "most": limit}
    return _rows((await tx.execute(_NEW, values)).all())


def _rows(found: Sequence[Any]) -> list[LogRow]:
    return [LogRow(r.lease_id, r.number, r.at_ns, r.stream, r.line) for r in found]
