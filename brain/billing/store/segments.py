"""Usage segments: counted once by key, folded by flag, and parked when they cannot be counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Numeric, Text, and_, bindparam, func, select, text, true
from sqlalchemy.dialects.postgresql import ARRAY, insert
from sqlalchemy.exc import OperationalError

from brain.billing.core.charge import Attempt, Prior, Waiver
from brain.billing.core.pause import collector_paused
from brain.billing.core.window import Folding, Interval, Piece, refunded
from brain.billing.models import MeterLease, ParkedSegment, UsageSegment, UsageWaiting
from brain.plumbing import DRIVER_ERRORS, Tx
from kernel.ids import AccountId, DeploymentId, LeaseId
from kernel.wire.gateway import Segment, SegmentEnd

_APPEND = text(
    """
    WITH born AS (
        INSERT INTO usage_segment
        SELECT * FROM jsonb_populate_recordset(NULL::usage_segment, CAST(:rows AS jsonb))
        ON CONFLICT DO NOTHING RETURNING lease_id, key, day, slice_id
    )
    INSERT INTO usage_waiting (lease_id, key, day, slice_id) SELECT * FROM born RETURNING key
    """
)

# One call a day, so that each looks into one partition. Thousands of values go as one text each:
# of an array the driver would look at every element.
_FOLD = """
SELECT usage_fold($1, $2, string_to_array($3, ','), string_to_array($4, ',')::bigint[],
    string_to_array($5, ',')::numeric[], string_to_array($6, ',')::numeric[],
    string_to_array($7, ',')::bigint[], string_to_array($8, ',', '')::bigint[],
    string_to_array($9, ','))
"""

_WAIVE = text(
    """
    UPDATE usage_segment s SET waived_units = w.units, waived_to = w.account
    FROM unnest(:days, :keys, :units, :accounts) AS w(day, key, units, account)
    WHERE s.day = w.day::date AND s.key = w.key
    """
).bindparams(
    bindparam("days", type_=ARRAY(Text)),
    bindparam("keys", type_=ARRAY(Text)),
    bindparam("units", type_=ARRAY(Numeric(60, 0))),
    bindparam("accounts", type_=ARRAY(Text)),
)

# By a set of keys, and by nothing else that an index knows: so no plan, whatever statistics it is
# made with, reads more than is asked for. What waits is not folded.
_UNFOLDED = """
SELECT day, key, account_id, request_id, attempt, start_ns, end_ns, open_ns, weight, ending, status,
       slice_id, prompt_tokens, completion_tokens, tokens_estimated, number
FROM usage_segment
WHERE day = ANY (ARRAY(SELECT DISTINCT day FROM usage_waiting WHERE lease_id = $1))
  AND key = ANY (ARRAY(SELECT key FROM usage_waiting WHERE lease_id = $1))
  AND NOT folded AND start_ns <= $2
ORDER BY start_ns LIMIT $3
"""
_DONE, _OPEN = SegmentEnd.DONE.value, SegmentEnd.OPEN.value

_HISTORY = text(
    """
    SELECT request_id, attempt, sum(settled_ticks) AS ticks,
           sum(prompt_tokens) AS prompt, sum(completion_tokens) AS completion
    FROM usage_segment s
    JOIN (SELECT DISTINCT * FROM unnest(:accounts, :requests) AS w(account, request)) w
      ON s.account_id = w.account AND s.request_id = w.request
    WHERE s.lease_id = :lease GROUP BY 1, 2
    """
).bindparams(bindparam("accounts", type_=ARRAY(Text)), bindparam("requests", type_=ARRAY(Text)))


@dataclass(frozen=True)
class Mapped:
    """A segment whose times are on the brain's line."""

    segment: Segment
    day: date
    start_ns: int
    end_ns: int


class Parked(NamedTuple):
    """What is kept of a piece that cannot be counted."""

    key: str
    reason: str
    payload: dict[str, Any]


async def epochs(tx: Tx, leases: Sequence[str]) -> dict[str, int]:
    rows = await tx.execute(
        select(MeterLease.lease_id, MeterLease.epoch).where(
            MeterLease.lease_id.in_([LeaseId(id) for id in leases])
        )
    )
    return {str(row[0]): row[1] for row in rows}


async def append(tx: Tx, pieces: Sequence[Mapped], received_ns: int) -> int:
    """Insert those not known yet, in key order so that two batches never wait crosswise."""
    if not pieces:
        return 0
    ordered = sorted(pieces, key=lambda m: (m.day, m.segment.key))
    rows = msgspec.json.encode([_row(piece, received_ns) for piece in ordered]).decode()
    return len((await tx.execute(_APPEND, {"rows": rows})).all())


def _row(mapped: Mapped, received_ns: int) -> dict[str, object]:
    segment = mapped.segment
    return {
        "day": mapped.day,
        "key": segment.key,
        "boot_id": segment.boot_id,
        "request_id": segment.request_id,
        "account_id": segment.account_id,
        "key_id": segment.key_id,
        "deployment_id": segment.deployment_id,
        "replica_id": segment.replica_id,
        "lease_id": segment.lease_id,
        "attempt": segment.attempt,
        "number": segment.number,
        "start_ns": mapped.start_ns,
        "end_ns": mapped.end_ns,
        "weight": segment.weight,
        "ending": segment.end.value,
        "status": segment.status,
        "model": segment.model,
        "route": segment.route,
        "prompt_tokens": segment.prompt_tokens,
        "completion_tokens": segment.completion_tokens,
        "tokens_estimated": segment.tokens_estimated,
        "slice_id": segment.slice_id,
        "received_ns": received_ns,
        "open_ns": mapped.start_ns,
        "settled_ticks": 0,
        "late_until_ns": None,
        "late_ticks": 0,
        "outside_ns": 0,
        "waived_units": 0,
        "waived_to": None,
        "folded": False,
    }


async def park(tx: Tx, parked: Sequence[Parked], at: datetime) -> int:
    """Keep what cannot be counted, whole, with its reason. Returns how many are new."""
    if not parked:
        return 0
    latest = {one.key: one for one in parked}
    values = [
        {"key": key, "reason": one.reason, "payload": one.payload, "at": at}
        for key, one in sorted(latest.items())
    ]
    statement = insert(ParkedSegment).values(values).on_conflict_do_nothing()
    return len((await tx.execute(statement.returning(ParkedSegment.key))).all())


async def parked_count(tx: Tx) -> int:
    return int(await tx.scalar(select(func.count()).select_from(ParkedSegment)) or 0)


class Waiting(NamedTuple):
    """Segments that wait, oldest first, each with its day."""

    pieces: list[Piece]
    days: list[date]


async def unfolded(
    tx: Tx, lease: LeaseId, *, limit: int | None = None, until_ns: int | None = None
) -> Waiting:
    """This lease's segments that wait, oldest first: at most ``limit``, or those that begin at
    ``until_ns`` or before. Read as the driver gives them: there may be many."""
    raw = await (await tx.connection()).get_raw_connection()
    driver: Any = raw.driver_connection
    until = 2**63 - 1 if until_ns is None else until_ns
    try:
        rows = await driver.fetch(_UNFOLDED, str(lease), until, limit)
    except DRIVER_ERRORS as error:
        raise OperationalError("unfolded", (), error) from error
    with collector_paused():
        columns = list(zip(*rows, strict=True))
        return _waiting(columns) if columns else Waiting([], [])


def _waiting(columns: Sequence[Sequence[Any]]) -> Waiting:
    """By columns: what is the same for many is thought of once, and no value is made twice."""
    (days, keys, accounts, requests, attempts, starts, ends, opens, weights) = columns[:9]
    (endings, statuses, slices, prompts, completions, estimated, numbers) = columns[9:]
    known = {account: AccountId(account) for account in set(accounts)}
    pairs = list(zip(endings, statuses, strict=True))
    said = {(ending, status): _flags(ending, status) for ending, status in set(pairs)}
    flags = [said[pair] for pair in pairs]
    finals = [flag[0] for flag in flags]
    made = zip(
        *(keys, [known[account] for account in accounts], requests, attempts),
        *(starts, ends, opens, weights, finals),
        *([flag[1] for flag in flags], [flag[2] for flag in flags]),
        *(slices, prompts, completions, estimated),
        [
            final and number == 0 and opened == start
            for final, number, opened, start in zip(finals, numbers, opens, starts, strict=True)
        ],
        strict=True,
    )
    return Waiting(list(map(Piece._make, made)), list(days))


def _flags(ending: str, status: int) -> tuple[bool, bool, bool]:
    """Final, alive, failed."""
    done = ending == _DONE
    return ending != _OPEN, done and status < 500, not done and refunded(ending, status)


async def alive_until(tx: Tx, lease: LeaseId) -> int:
    """The last end of a segment that waits and that the worker answered to the end."""
    found = await tx.scalar(
        select(func.max(UsageSegment.end_ns))
        .join(
            UsageWaiting,
            and_(UsageWaiting.key == UsageSegment.key, UsageWaiting.day == UsageSegment.day),
        )
        .where(
            UsageWaiting.lease_id == lease,
            UsageSegment.ending == SegmentEnd.DONE.value,
            UsageSegment.status < 500,
        )
    )
    return int(found or 0)


async def accounted(tx: Tx, lease: LeaseId, low_ns: int, high_ns: int) -> list[Interval]:
    """Residence in [low, high) that posted windows or earlier late news have seen."""
    rows = await tx.execute(
        select(UsageSegment.start_ns, UsageSegment.open_ns).where(
            UsageSegment.lease_id == lease,
            UsageSegment.end_ns > low_ns,
            UsageSegment.start_ns < high_ns,
            UsageSegment.open_ns > UsageSegment.start_ns,
        )
    )
    return [(row[0], row[1]) for row in rows]


async def history(tx: Tx, lease: LeaseId, ended: Sequence[Piece]) -> dict[Attempt, Prior]:
    """What posted windows gave the attempts of these pieces before, and their tokens; of a lone
    piece, what there is to say is its own."""
    found: dict[Attempt, Prior] = {}
    asked = [piece for piece in ended if not piece.lone]
    if not asked:
        return found
    rows = await tx.execute(
        _HISTORY,
        {
            "lease": lease,
            "accounts": [piece.account for piece in asked],
            "requests": [piece.request for piece in asked],
        },
    )
    for row in rows:
        prior = Prior(int(row.ticks), int(row.prompt), int(row.completion))
        found[(row.request_id, row.attempt)] = prior
    return found


async def fold(
    tx: Tx,
    lease: LeaseId,
    days: Mapping[str, date],
    pieces: Mapping[str, Piece],
    foldings: Mapping[str, Folding],
) -> None:
    """Save what a settlement gave: the flag, never a cursor, says what is done."""
    by_day: dict[date, list[str]] = {}
    for key in foldings:
        by_day.setdefault(days[key], []).append(key)
    if not by_day:
        return
    connection = await tx.connection()
    for day, keys in sorted(by_day.items()):
        mine = [foldings[key] for key in keys]
        done = [key for key in keys if foldings[key].open_ns >= pieces[key].end_ns]
        await connection.exec_driver_sql(
            _FOLD,
            (
                str(lease),
                day,
                ",".join(keys),
                _joined([f.open_ns for f in mine]),
                _joined([f.ticks for f in mine]),
                _joined([f.late_ticks for f in mine]),
                _joined([f.outside_ns for f in mine]),
                ",".join(["" if f.late_until_ns is None else str(f.late_until_ns) for f in mine]),
                ",".join(done),
            ),
        )


def _joined(values: Iterable[int]) -> str:
    return ",".join(map(str, values))


async def waive(tx: Tx, days: Mapping[str, date], waivers: Sequence[Waiver]) -> None:
    if not waivers:
        return
    await tx.execute(
        _WAIVE,
        {
            "days": [days[w.key].isoformat() for w in waivers],
            "keys": [w.key for w in waivers],
            "units": [w.units for w in waivers],
            "accounts": [w.account for w in waivers],
        },
    )


async def last_used(tx: Tx, deployment: DeploymentId) -> int | None:
    """The latest end of any segment on this deployment's leases."""
    latest = (
        select(func.max(UsageSegment.end_ns).label("at"))
        .where(UsageSegment.lease_id == MeterLease.lease_id)
        .lateral()
    )
    found: int | None = await tx.scalar(
        select(func.max(latest.c.at))
        .select_from(MeterLease)
        .join(latest, true())
        .where(MeterLease.deployment_id == deployment)
    )
    return found
