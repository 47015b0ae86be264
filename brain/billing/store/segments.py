"""Usage segments: counted once by key, folded by flag, and parked when they cannot be counted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import msgspec
from sqlalchemy import BigInteger, Numeric, Text, bindparam, func, select, text, true
from sqlalchemy.dialects.postgresql import ARRAY, insert

from brain.billing.core.charge import Attempt, Prior, Waiver
from brain.billing.core.window import Folding, Interval, Piece, refunded
from brain.billing.models import MeterLease, ParkedSegment, UsageSegment
from brain.plumbing import Tx
from kernel.ids import DeploymentId, LeaseId
from kernel.wire.gateway import Segment, SegmentEnd

_APPEND = text(
    """
    INSERT INTO usage_segment
    SELECT * FROM jsonb_populate_recordset(NULL::usage_segment, CAST(:rows AS jsonb))
    ON CONFLICT DO NOTHING RETURNING key
    """
)

_FOLD = text(
    """
    UPDATE usage_segment s SET open_ns = f.open, settled_ticks = s.settled_ticks + f.ticks,
        late_ticks = s.late_ticks + f.late, outside_ns = s.outside_ns + f.outside,
        late_until_ns = coalesce(f.late_until, s.late_until_ns), folded = f.open >= s.end_ns
    FROM unnest(:days, :keys, :opens, :ticks, :lates, :outsides, :untils)
         AS f(day, key, open, ticks, late, outside, late_until)
    WHERE s.day = f.day::date AND s.key = f.key
    """
).bindparams(
    bindparam("days", type_=ARRAY(Text)),
    bindparam("keys", type_=ARRAY(Text)),
    bindparam("opens", type_=ARRAY(BigInteger)),
    bindparam("ticks", type_=ARRAY(Numeric(40, 0))),
    bindparam("lates", type_=ARRAY(Numeric(40, 0))),
    bindparam("outsides", type_=ARRAY(BigInteger)),
    bindparam("untils", type_=ARRAY(BigInteger)),
)

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


async def park(tx: Tx, parked: Sequence[tuple[Segment, str]], at: datetime) -> int:
    """Keep what cannot be counted, whole, with its reason. Returns how many are new."""
    if not parked:
        return 0
    latest = {segment.key: (segment, reason) for segment, reason in parked}
    values = [
        {"key": key, "reason": reason, "payload": msgspec.to_builtins(segment), "at": at}
        for key, (segment, reason) in sorted(latest.items())
    ]
    statement = insert(ParkedSegment).values(values).on_conflict_do_nothing()
    return len((await tx.execute(statement.returning(ParkedSegment.key))).all())


async def unfolded(
    tx: Tx, lease: LeaseId, *, limit: int | None = None, until_ns: int | None = None
) -> list[tuple[date, Piece]]:
    """This lease's segments that wait, oldest first, each with its day: at most ``limit``, or
    those that begin at ``until_ns`` or before. Columns, not objects: there may be many."""
    columns = UsageSegment.__table__.c
    begun = [columns.start_ns <= until_ns] if until_ns is not None else []
    rows = await tx.execute(
        select(
            columns.day,
            columns.key,
            columns.account_id,
            columns.request_id,
            columns.attempt,
            columns.start_ns,
            columns.end_ns,
            columns.open_ns,
            columns.weight,
            columns.ending,
            columns.status,
            columns.slice_id,
            columns.prompt_tokens,
            columns.completion_tokens,
            columns.tokens_estimated,
        )
        .where(columns.lease_id == lease, ~columns.folded, *begun)
        .order_by(columns.start_ns, columns.key)
        .limit(limit)
    )
    return [(row.day, _piece(row)) for row in rows]


async def alive_until(tx: Tx, lease: LeaseId) -> int:
    """The last end of a segment that waits and that the worker answered to the end."""
    found = await tx.scalar(
        select(func.max(UsageSegment.end_ns)).where(
            UsageSegment.lease_id == lease,
            ~UsageSegment.folded,
            UsageSegment.ending == SegmentEnd.DONE.value,
            UsageSegment.status < 500,
        )
    )
    return int(found or 0)


def _piece(row: Any) -> Piece:
    return Piece(
        key=row.key,
        account=row.account_id,
        request=row.request_id,
        attempt=row.attempt,
        start_ns=row.start_ns,
        end_ns=row.end_ns,
        open_ns=row.open_ns,
        weight=row.weight,
        final=row.ending != SegmentEnd.OPEN.value,
        alive=row.ending == SegmentEnd.DONE.value and row.status < 500,
        failed=refunded(row.ending, row.status),
        slice_id=row.slice_id,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        tokens_estimated=row.tokens_estimated,
    )


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
    """What posted windows gave the attempts of these pieces before."""
    if not ended:
        return {}
    rows = await tx.execute(
        _HISTORY,
        {
            "lease": lease,
            "accounts": [piece.account for piece in ended],
            "requests": [piece.request for piece in ended],
        },
    )
    return {
        (row.request_id, row.attempt): Prior(int(row.ticks), int(row.prompt), int(row.completion))
        for row in rows
    }


async def fold(tx: Tx, days: Mapping[str, date], foldings: Mapping[str, Folding]) -> None:
    """Save what a settlement gave: the flag, never a cursor, says what is done."""
    if not foldings:
        return
    keys = sorted(foldings)
    await tx.execute(
        _FOLD,
        {
            "days": [days[k].isoformat() for k in keys],
            "keys": keys,
            "opens": [foldings[k].open_ns for k in keys],
            "ticks": [foldings[k].ticks for k in keys],
            "lates": [foldings[k].late_ticks for k in keys],
            "outsides": [foldings[k].outside_ns for k in keys],
            "untils": [foldings[k].late_until_ns for k in keys],
        },
    )


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
