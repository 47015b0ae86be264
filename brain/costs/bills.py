"""What clouds billed us, beside what we recorded of their machines: imported, or fetched."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy import delete, text
from sqlalchemy.dialects.postgresql import insert

from brain.clouds import Billed, Cloud, CloudError, HasBills
from brain.costs import core
from brain.costs.models import CloudBillLine
from brain.plumbing import Ctx, Tx
from kernel.clock import NS
from kernel.errors import BadInput, Conflict

DAYS_BACK = 3  # a cloud may correct its newest days

_log = structlog.get_logger()


@dataclass(frozen=True)
class BillLine:
    """``line`` names it in its statement; ``machine_id`` "": of all machines together."""

    line: str
    machine_id: str
    from_at: datetime
    until_at: datetime
    amount_nano: int


@dataclass(frozen=True)
class Taken:
    added: int
    known: int  # there already, and the same
    left_out: int  # of machines that were never ours


async def take(
    tx: Tx,
    now: datetime,
    cloud: str,
    statement: str,
    lines: Sequence[BillLine],
    *,
    only_ours: bool = False,
    replace: bool = False,
) -> Taken:
    """Add a vendor's statement, or a part of one. Repeating it adds nothing; a line that says
    something else than before is ``Conflict``, unless the whole statement is replaced."""
    if len({one.line for one in lines}) != len(lines):
        raise BadInput("Two lines of the statement have one name.", param="lines")
    if replace:
        await tx.execute(
            delete(CloudBillLine).where(
                CloudBillLine.cloud == cloud, CloudBillLine.statement == statement
            )
        )
    kept = list(lines)
    if only_ours:
        ours = await _machines(tx, cloud)
        kept = [one for one in lines if not one.machine_id or one.machine_id in ours]
    added = 0
    for one in kept:
        values = _values(cloud, statement, one, "import", now)
        row = insert(CloudBillLine).values(**values).on_conflict_do_nothing()
        done = await tx.scalar(row.returning(CloudBillLine.line))
        added += done is not None
        if done is None:
            await _same(tx, cloud, statement, one)
    return Taken(added, len(kept) - added, len(lines) - len(kept))


async def _same(tx: Tx, cloud: str, statement: str, one: BillLine) -> None:
    row = await tx.get(CloudBillLine, (cloud, statement, one.line))
    assert row is not None, "the insert met it"
    found = (row.machine_id, row.from_at, row.until_at, row.amount_nano)
    if found != (one.machine_id, one.from_at, one.until_at, one.amount_nano):
        raise Conflict(
            f"Line {one.line!r} of {statement} was taken in with other figures."
            " Say replace to take the whole statement anew.",
            param="lines",
        )


def _values(
    cloud: str, statement: str, one: BillLine, taken_from: str, now: datetime
) -> dict[str, object]:
    return {
        "cloud": cloud,
        "statement": statement,
        "line": one.line,
        "machine_id": one.machine_id,
        "from_at": one.from_at,
        "until_at": one.until_at,
        "amount_nano": one.amount_nano,
        "taken_from": taken_from,
        "added_at": now,
    }


async def _machines(tx: Tx, cloud: str) -> set[str]:
    """Every machine of ours that this cloud ever told us of."""
    rows = await tx.scalars(
        text(
            "SELECT machine_id FROM provision_intent"
            " WHERE cloud = :cloud AND machine_id IS NOT NULL"
            " UNION SELECT machine_id FROM unknown_machine WHERE cloud = :cloud"
        ),
        {"cloud": cloud},
    )
    return set(rows)


async def fetch_bills(
    ctx: Ctx, clouds: Mapping[str, Cloud], *, halt: Callable[[], bool] = lambda: False
) -> int:
    """Ask the clouds that tell what they billed for the last whole days. Returns how many lines
    are new or changed. A cloud that is away is asked again next time."""
    changed = 0
    midnight = ctx.clock.now().astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    since = midnight - timedelta(days=DAYS_BACK)
    for name, cloud in clouds.items():
        if halt() or not isinstance(cloud, HasBills):
            continue
        try:
            billed = await cloud.bills(_ns(since), _ns(midnight))
        except CloudError as away:
            _log.warning("cloud_bills_not_read", cloud=name, error=str(away)[:200])
            continue
        async with ctx.db.begin() as tx:
            changed += await _fetched(tx, ctx.clock.now(), name, billed)
    return changed


async def _fetched(tx: Tx, now: datetime, cloud: str, billed: Sequence[Billed]) -> int:
    """A record that grew replaces itself. Machines with other tags are other people's."""
    ours, changed = await _machines(tx, cloud), 0
    for one in billed:
        if one.machine_id not in ours or one.until_ns <= one.from_ns:
            continue
        since, until = _at(one.from_ns), _at(one.until_ns)
        line = BillLine(f"{one.machine_id}/{since:%Y-%m-%dT%H:%M:%SZ}", one.machine_id, since,
                        until, one.amount_nano)  # fmt: skip
        row = insert(CloudBillLine).values(
            **_values(cloud, f"{cloud} {since:%Y-%m}", line, "cloud", now)
        )
        done = await tx.scalar(
            row.on_conflict_do_update(
                index_elements=["cloud", "statement", "line"],
                set_={name: row.excluded[name] for name in ("until_at", "amount_nano")},
                where=(CloudBillLine.amount_nano != row.excluded.amount_nano)
                | (CloudBillLine.until_at != row.excluded.until_at),
            ).returning(CloudBillLine.line)
        )
        changed += done is not None
    return changed


def _ns(at: datetime) -> int:
    return int(at.timestamp()) * NS


def _at(ns: int) -> datetime:
    return datetime.fromtimestamp(ns // NS, UTC)


# What a cloud's machines cost by what we agreed, over the very stretches that it billed.
_STATEMENTS = text(
    """
    WITH machine AS (
        SELECT cloud, machine_id, cost_nano_hour, ordered_ns AS from_ns,
               coalesce(ended_ns, :now) AS until_ns
        FROM provision_intent WHERE machine_id IS NOT NULL AND ordered_ns IS NOT NULL
        UNION ALL
        SELECT cloud, machine_id, cost_nano_hour, first_ns, coalesce(ended_ns, :now)
        FROM unknown_machine
    ), line AS (
        SELECT *, (extract(epoch FROM from_at) * 1000000000)::bigint AS from_ns,
               (extract(epoch FROM until_at) * 1000000000)::bigint AS until_ns
        FROM cloud_bill_line WHERE until_at <= :at
    )
    SELECT l.cloud, l.statement, min(l.from_at) AS from_at, max(l.until_at) AS until_at,
           count(*) AS lines, sum(l.amount_nano)::bigint AS billed,
           floor(sum(r.nano))::bigint AS recorded,
           count(*) FILTER (WHERE r.machines = 0) AS unknown
    FROM line l CROSS JOIN LATERAL (
        SELECT count(*) AS machines, coalesce(sum(m.cost_nano_hour::numeric
               * greatest(0, least(m.until_ns, l.until_ns) - greatest(m.from_ns, l.from_ns))
               / 3600000000000), 0) AS nano
        FROM machine m
        WHERE m.cloud = l.cloud AND (l.machine_id = '' OR m.machine_id = l.machine_id)
    ) r
    GROUP BY l.cloud, l.statement ORDER BY l.cloud, min(l.from_at), l.statement
    """
)


@dataclass(frozen=True)
class Statement:
    """A vendor's statement beside our record. ``unknown``: lines of machines that we never had."""

    cloud: str
    statement: str
    from_at: datetime
    until_at: datetime
    lines: int
    billed_nano: int
    recorded_nano: int
    unknown: int

    @property
    def agrees(self) -> bool:
        return core.agrees(self.billed_nano, self.recorded_nano)


async def statements(tx: Tx, now_ns: int) -> list[Statement]:
    """Every statement, of its lines whose time is over."""
    rows = await tx.execute(_STATEMENTS, {"now": now_ns, "at": _at(now_ns)})
    return [
        Statement(
            r.cloud, r.statement, r.from_at, r.until_at, r.lines, r.billed, r.recorded, r.unknown
        )
        for r in rows
    ]
