"""Usage by day: a partition is made before it is needed and dropped whole when its time is over.

Nothing is ever deleted row by row. What a dropped day gave its leases stays as one sum a lease,
so that the proofs still close over it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date, timedelta
from typing import Final
from weakref import WeakKeyDictionary

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from brain.plumbing import Ctx, Db, Tx

LOCK: Final = 0x7573_6167  # one process at a time makes and drops days
LOCK_SECONDS_MAX: Final = 2
AHEAD_DAYS: Final = 2
FUTURE_DAYS_MAX: Final = 7  # a gateway's clock may be wrong, but not by more
PREFIX: Final = "usage_segment_"

_KEPT_SUM = """
INSERT INTO usage_dropped (lease_id, ticks, segments)
SELECT lease_id, sum(settled_ticks), count(*) FROM "{name}" GROUP BY lease_id ORDER BY lease_id
ON CONFLICT (lease_id) DO UPDATE SET ticks = usage_dropped.ticks + excluded.ticks,
    segments = usage_dropped.segments + excluded.segments
"""

# Days that this process has seen to be there. Only near ones: a day that is dropped is not.
_there: WeakKeyDictionary[Db, set[date]] = WeakKeyDictionary()


def name_of(day: date) -> str:
    return f"{PREFIX}{day:%Y%m%d}"


def taken(day: date, today: date, kept_days: int) -> bool:
    """Is usage of this day counted? Else it is gone already, or no clock can be so wrong."""
    return today - timedelta(kept_days) <= day <= today + timedelta(FUTURE_DAYS_MAX)


async def ensure(ctx: Ctx, days: Iterable[date]) -> None:
    """Make the partitions that are missing of these days, in transactions of their own. May be
    repeated, by many at once."""
    known = _there.setdefault(ctx.db, set())
    today = ctx.clock.now().date()
    for day in sorted(set(days) - known):
        async with ctx.db.begin() as tx:
            await _make(tx, day)
        if abs((day - today).days) <= FUTURE_DAYS_MAX:
            known.add(day)


async def _make(tx: Tx, day: date) -> None:
    name = name_of(day)
    if await _is_there(tx, name):
        return
    await tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    if await _is_there(tx, name):
        return
    # Attached, not made as a part: that would keep all others from reading and writing.
    # Half of a page stays free, so that folding a row writes it anew beside itself.
    await tx.execute(
        text(
            f'CREATE TABLE "{name}" (LIKE usage_segment INCLUDING CONSTRAINTS)'
            " WITH (fillfactor = 50)"
        )
    )
    await tx.execute(
        text(
            f'ALTER TABLE usage_segment ATTACH PARTITION "{name}"'
            f" FOR VALUES FROM ('{day}') TO ('{day + timedelta(1)}')"
        )
    )


async def _is_there(tx: Tx, name: str) -> bool:
    # By a snapshot: a cached look at the catalog may be older than the lock just waited for.
    query = "SELECT EXISTS (SELECT 1 FROM pg_class WHERE relname = :name)"
    return bool(await tx.scalar(text(query), {"name": name}))


async def present(tx: Tx) -> list[date]:
    """The days that have a partition, oldest first."""
    rows = await tx.scalars(
        text(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
            " WHERE i.inhparent = 'usage_segment'::regclass ORDER BY c.relname"
        )
    )
    return [date.fromisoformat(name.removeprefix(PREFIX)) for name in rows]


async def drop_before(ctx: Ctx, first: date) -> list[date]:
    """Drop the days before ``first`` in which nothing waits any more. Returns those dropped. One
    that readers hold is tried again next time."""
    async with ctx.db.begin() as tx:
        old = [day for day in await present(tx) if day < first]
    dropped = []
    for day in old:
        try:
            if await _drop(ctx, day):
                dropped.append(day)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != "55P03":  # the lock was not to be had
                raise
    return dropped


async def _drop(ctx: Ctx, day: date) -> bool:
    name = name_of(day)
    async with ctx.db.begin() as tx:
        await tx.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS_MAX}s'"))
        await tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
        if not await _is_there(tx, name):
            return False
        await tx.execute(text(f'LOCK TABLE ONLY usage_segment, "{name}" IN ACCESS EXCLUSIVE MODE'))
        waiting = "SELECT EXISTS (SELECT 1 FROM usage_waiting WHERE day = :day)"
        if await tx.scalar(text(waiting), {"day": day}):
            return False
        await tx.execute(text(_KEPT_SUM.format(name=name)))
        await tx.execute(text(f'DROP TABLE "{name}"'))
    return True
