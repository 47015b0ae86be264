"""All SQL of the history: partitions, batches in, minutes and hours rolled up, old ones dropped."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import asyncpg
from sqlalchemy import delete, select, text, update
from sqlalchemy.dialects.postgresql import insert

from brain.history.core import DAY_S, HOUR_S, KEPT, MINUTE_S, SLOTS, TEN_SECONDS, Fold
from brain.history.models import COLUMNS, HOURS, MINUTES, RAW, DirtyHour, Flush
from brain.plumbing import DRIVER_ERRORS, Ctx, Tx

LOCK: Final = 0x6861_7374  # one process at a time makes partitions
ROLL_LOCK: Final = 0x6861_7375  # one process at a time rolls up
FORGET_FLUSHES_MAX: Final = 5000
LOCK_SECONDS_MAX: Final = 2


class Refused(Exception):
    """The rows themselves cannot be kept: to send them again is of no use."""


@dataclass(frozen=True)
class Shelf:
    """One table: how long a partition is, for how long it is kept past its end."""

    name: str
    span_s: int
    kept_s: int
    bucket_s: int


SHELVES: Final = (
    Shelf(RAW.name, HOUR_S, KEPT.raw_s, TEN_SECONDS),
    Shelf(MINUTES.name, DAY_S, KEPT.minute_s, MINUTE_S),
    Shelf(HOURS.name, 30 * DAY_S, KEPT.hour_s, HOUR_S),
)
_OF_BUCKET: Final = {shelf.bucket_s: shelf for shelf in SHELVES}


async def write(ctx: Ctx, batch_id: str, minute_s: int, rows: Sequence[tuple[int, ...]]) -> bool:
    """One COPY in one transaction. False: this batch is in already, as when the answer to its
    commit was lost. Raises ``Refused``, or what a database that is away raises."""
    async with ctx.db.begin() as tx:
        entered = await tx.execute(
            insert(Flush)
            .values(batch_id=batch_id, minute_s=minute_s, rows=len(rows), rolled=False)
            .on_conflict_do_nothing()
            .returning(Flush.batch_id)
        )
        if entered.one_or_none() is None:
            return False
        if not await _partition_there(tx, SHELVES[0], minute_s):
            await _make_in(tx, SHELVES[0], minute_s)
        await _copy(tx, rows)
    return True


async def _copy(tx: Tx, rows: Sequence[tuple[int, ...]]) -> None:
    """The driver's own COPY, with its errors in words that callers know."""
    raw = await (await tx.connection()).get_raw_connection()
    driver: Any = raw.driver_connection
    try:
        await driver.copy_records_to_table(RAW.name, records=rows, columns=COLUMNS)
    except (asyncpg.DataError, ValueError, OverflowError) as error:
        raise Refused(type(error).__name__) from error
    except DRIVER_ERRORS as error:
        raise ConnectionError(type(error).__name__) from error


async def make_partitions(ctx: Ctx, now_s: int) -> None:
    """Those of now and the next, in every table. May be repeated, by many at once."""
    for shelf in SHELVES:
        async with ctx.db.begin() as tx:
            for at_s in (now_s, now_s + shelf.span_s):
                if not await _partition_there(tx, shelf, at_s):
                    await _make_in(tx, shelf, at_s)


async def drop_old(ctx: Ctx, now_s: int) -> list[str]:
    """Drop partitions whose last bucket is past its time. Returns their names.

    Raw rows that are not rolled up yet, as when no worker ran, are waited for a day long.
    """
    dropped = []
    async with ctx.db.begin() as tx:
        waiting = await oldest_unrolled(tx, now_s)
    for shelf in SHELVES:
        for name, first_s in await _partitions(ctx, shelf):
            end_s = first_s + shelf.span_s
            wanted = shelf.name == RAW.name and waiting is not None and end_s > waiting
            if end_s <= now_s - shelf.kept_s - (DAY_S if wanted else 0):
                async with ctx.db.begin() as tx:
                    await tx.execute(text(f"SET LOCAL lock_timeout = '{LOCK_SECONDS_MAX}s'"))
                    await tx.execute(text(f'DROP TABLE IF EXISTS "{name}"'))
                dropped.append(name)
    async with ctx.db.begin() as tx:
        old = (
            select(Flush.batch_id)
            .where(Flush.minute_s < now_s - KEPT.raw_s - HOUR_S - DAY_S)
            .limit(FORGET_FLUSHES_MAX)
        )
        await tx.execute(delete(Flush).where(Flush.batch_id.in_(old.scalar_subquery())))
    return dropped


async def oldest_unrolled(tx: Tx, before_s: int) -> int | None:
    """The first minute, ended by ``before_s``, of which batches are not rolled up."""
    found = await tx.scalar(
        select(Flush.minute_s)
        .where(~Flush.rolled, Flush.minute_s + MINUTE_S <= before_s)
        .order_by(Flush.minute_s)
        .limit(1)
    )
    return None if found is None else int(found)


async def oldest_dirty_hour(tx: Tx, before_s: int) -> int | None:
    found = await tx.scalar(
        select(DirtyHour.hour_s)
        .where(DirtyHour.hour_s + HOUR_S <= before_s)
        .order_by(DirtyHour.hour_s)
        .limit(1)
    )
    return None if found is None else int(found)


async def alone(tx: Tx) -> bool:
    """Whether this transaction is the one that rolls up; the others leave it to that one."""
    return bool(await tx.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": ROLL_LOCK}))


async def roll_minute(tx: Tx, minute_s: int) -> None:
    """Make the minute anew from all raw rows that are in: repeating it changes nothing.

    Which batches are in is read before their rows are, so that one that comes in between makes
    the minute due once more.
    """
    seen = list(
        await tx.scalars(select(Flush.batch_id).where(Flush.minute_s == minute_s, ~Flush.rolled))
    )
    if not await _partition_there(tx, SHELVES[1], minute_s):
        await _make_in(tx, SHELVES[1], minute_s)
    await _roll(tx, RAW.name, MINUTES.name, minute_s, MINUTE_S)
    await tx.execute(update(Flush).where(Flush.batch_id.in_(seen)).values(rolled=True))
    hour_s = minute_s - minute_s % HOUR_S
    await tx.execute(insert(DirtyHour).values(hour_s=hour_s).on_conflict_do_nothing())


async def roll_hour(tx: Tx, hour_s: int) -> None:
    """Make the hour anew from its minutes."""
    if not await _partition_there(tx, SHELVES[2], hour_s):
        await _make_in(tx, SHELVES[2], hour_s)
    await tx.execute(delete(DirtyHour).where(DirtyHour.hour_s == hour_s))
    await _roll(tx, MINUTES.name, HOURS.name, hour_s, HOUR_S)


@dataclass(frozen=True)
class Want:
    """A series from ``from_s`` up to but without ``until_s``."""

    series: int
    from_s: int
    until_s: int


async def read(
    tx: Tx, wants: Sequence[Want], *, base_s: int, step_s: int
) -> list[dict[int, list[Fold]]]:
    """For each want its buckets of ``step_s``: by start, the fold of each slot."""
    found: list[dict[int, list[Fold]]] = [{} for _ in wants]
    if not wants:
        return found
    rows = await tx.execute(
        text(_READ.replace("{table}", _OF_BUCKET[base_s].name)),
        {
            "step": step_s,
            "series": [want.series for want in wants],
            "froms": [want.from_s for want in wants],
            "untils": [want.until_s for want in wants],
            "least": min(want.from_s for want in wants),
            "most": max(want.until_s for want in wants),
        },
    )
    for place, start, *values in rows:
        whole = [int(value) for value in values]
        found[place - 1][int(start)] = [
            Fold(
                n=whole[SLOTS + k],
                total=whole[k],
                low=whole[2 * SLOTS + k],
                high=whole[3 * SLOTS + k],
            )
            for k in range(SLOTS)
        ]
    return found


_SUMS = ", ".join(  # in the order of the columns
    sum_.replace("#", str(k))
    for sum_ in (
        "sum(h.total_#) AS total_#",
        "sum(h.n_#) AS n_#",
        "coalesce(min(h.low_#) FILTER (WHERE h.n_# > 0), 0) AS low_#",
        "coalesce(max(h.high_#) FILTER (WHERE h.n_# > 0), 0) AS high_#",
    )
    for k in range(SLOTS)
)
_KEPT = ", ".join(f"{name} = excluded.{name}" for name in COLUMNS[2:])


_READ = """
SELECT w.place, h.at_s - h.at_s % :step AS start, {sums}
FROM unnest(CAST(:series AS bigint[]), CAST(:froms AS bigint[]), CAST(:untils AS bigint[]))
  WITH ORDINALITY AS w(series, from_s, until_s, place)
JOIN {table} h ON h.series = w.series AND h.at_s >= w.from_s AND h.at_s < w.until_s
  AND h.at_s >= :least AND h.at_s < :most
GROUP BY 1, 2
""".replace("{sums}", _SUMS)
_ROLL = """
INSERT INTO {target} ({columns})
SELECT h.series, CAST(:at AS bigint), {sums} FROM {source} h
WHERE h.at_s >= :at AND h.at_s < CAST(:at AS bigint) + CAST(:bucket AS bigint) GROUP BY h.series
ON CONFLICT (series, at_s) DO UPDATE SET {kept}
""".replace("{sums}", _SUMS)


async def _roll(tx: Tx, source: str, target: str, at_s: int, bucket_s: int) -> None:
    statement = _ROLL
    for name, value in (
        ("source", source),
        ("target", target),
        ("columns", ", ".join(COLUMNS)),
        ("kept", _KEPT),
    ):
        statement = statement.replace(f"{{{name}}}", value)
    await tx.execute(text(statement), {"at": at_s, "bucket": bucket_s})


def _name(shelf: Shelf, at_s: int) -> tuple[str, int]:
    first_s = at_s - at_s % shelf.span_s
    return f"{shelf.name}_{first_s}", first_s


async def _partition_there(tx: Tx, shelf: Shelf, at_s: int) -> bool:
    name, _ = _name(shelf, at_s)
    return bool(await tx.scalar(text("SELECT to_regclass(:name) IS NOT NULL"), {"name": name}))


async def _make_in(tx: Tx, shelf: Shelf, at_s: int) -> None:
    """Waits for whoever makes one just now; then it is there already."""
    name, first_s = _name(shelf, at_s)
    await tx.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
    await tx.execute(
        text(
            f"CREATE TABLE IF NOT EXISTS {name} PARTITION OF {shelf.name}"
            f" FOR VALUES FROM ({first_s}) TO ({first_s + shelf.span_s})"
        )
    )


async def _partitions(ctx: Ctx, shelf: Shelf) -> list[tuple[str, int]]:
    async with ctx.db.begin() as tx:
        names = await tx.scalars(
            text(
                "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid"
                " WHERE i.inhparent = CAST(:name AS regclass) ORDER BY 1"
            ),
            {"name": shelf.name},
        )
        return [(name, int(name.rpartition("_")[2])) for name in names]
