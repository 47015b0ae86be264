"""What receipts and usage lists are read from. Reads only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select, text

from brain.billing.models import MeterLease, MeterWindow, UsageSegment
from brain.plumbing import Tx
from kernel.ids import AccountId, DeploymentId, LeaseId

SEGMENTS_MAX = 20_000
WINDOWS_MAX = 2_000

_USAGE = text(
    """
    SELECT s.request_id, min(s.start_ns) AS start_ns, max(s.end_ns) AS end_ns,
           min(s.deployment_id) AS deployment_id, min(s.model) AS model, min(s.route) AS route,
           sum(s.settled_ticks) AS ticks, sum(s.late_ticks) AS late_ticks,
           sum(CASE WHEN l.mode = 'pool' AND s.account_id <> l.payer
                    THEN s.settled_ticks * l.pool_rate_nano ELSE 0 END)
               - sum(s.waived_units) AS units,
           sum(s.prompt_tokens) AS prompt_tokens, sum(s.completion_tokens) AS completion_tokens,
           bool_and(s.folded) AS folded, bool_or(s.ending <> 'open') AS ended,
           (array_agg(s.status ORDER BY s.attempt DESC, s.number DESC))[1] AS status,
           min(l.mode) AS mode
    FROM usage_segment s JOIN meter_lease l ON l.lease_id = s.lease_id
    WHERE s.account_id = :account
      AND (CAST(:before AS text) IS NULL OR s.request_id < CAST(:before AS text))
      AND (CAST(:deployment AS text) IS NULL OR s.deployment_id = CAST(:deployment AS text))
    GROUP BY s.request_id ORDER BY s.request_id DESC LIMIT :limit
    """
)


@dataclass(frozen=True)
class UsageRow:
    """One request of an account, over all its segments."""

    request_id: str
    start_ns: int
    end_ns: int
    deployment_id: str
    model: str
    route: str
    ticks: int
    late_ticks: int
    units: int
    prompt_tokens: int
    completion_tokens: int
    settled: bool
    status: int
    mode: str


async def usage(
    tx: Tx, account: AccountId, *, before: str | None, deployment: str | None, limit: int
) -> list[UsageRow]:
    """An account's requests, newest first."""
    values = {"account": account, "before": before, "deployment": deployment, "limit": limit}
    rows = await tx.execute(_USAGE, values)
    return [
        UsageRow(
            request_id=row.request_id,
            start_ns=row.start_ns,
            end_ns=row.end_ns,
            deployment_id=row.deployment_id,
            model=row.model,
            route=row.route,
            ticks=int(row.ticks),
            late_ticks=int(row.late_ticks),
            units=int(row.units),
            prompt_tokens=int(row.prompt_tokens),
            completion_tokens=int(row.completion_tokens),
            settled=row.folded and row.ended,
            status=row.status,
            mode=row.mode,
        )
        for row in rows
    ]


async def of_request(tx: Tx, account: AccountId, request: str) -> list[UsageSegment]:
    rows = await tx.scalars(
        select(UsageSegment)
        .where(UsageSegment.account_id == account, UsageSegment.request_id == request)
        .order_by(UsageSegment.attempt, UsageSegment.number)
        .limit(SEGMENTS_MAX)
    )
    return list(rows)


async def lease(tx: Tx, id: LeaseId) -> MeterLease | None:
    return await tx.get(MeterLease, id)


async def leases_of(tx: Tx, deployment: DeploymentId, limit: int) -> list[MeterLease]:
    rows = await tx.scalars(
        select(MeterLease)
        .where(MeterLease.deployment_id == deployment)
        .order_by(MeterLease.opened_ns.desc())
        .limit(limit)
    )
    return list(rows)


async def windows(
    tx: Tx, lease: LeaseId, *, low_ns: int, high_ns: int, limit: int = WINDOWS_MAX
) -> list[MeterWindow]:
    """Posted windows that overlap [low, high), oldest first."""
    rows = await tx.scalars(
        select(MeterWindow)
        .where(
            MeterWindow.lease_id == lease,
            MeterWindow.end_ns > low_ns,
            MeterWindow.start_ns < high_ns,
        )
        .order_by(MeterWindow.start_ns)
        .limit(limit)
    )
    return list(rows)


async def segments_between(tx: Tx, lease: LeaseId, low_ns: int, high_ns: int) -> list[UsageSegment]:
    """Segments of the lease that overlap [low, high)."""
    rows = await tx.scalars(
        select(UsageSegment)
        .where(
            UsageSegment.lease_id == lease,
            UsageSegment.end_ns > low_ns,
            UsageSegment.start_ns < high_ns,
        )
        .order_by(UsageSegment.start_ns, UsageSegment.key)
        .limit(SEGMENTS_MAX)
    )
    return list(rows)


async def rates_of(tx: Tx, ids: Sequence[LeaseId]) -> dict[str, MeterLease]:
    rows = await tx.scalars(select(MeterLease).where(MeterLease.lease_id.in_(ids)))
    return {str(row.lease_id): row for row in rows}
