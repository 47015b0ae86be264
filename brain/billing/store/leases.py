"""Rows of ``meter_lease`` as values, and the few ways in which they change."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import BigInteger, Text, bindparam, case, func, select, text, update
from sqlalchemy.dialects.postgresql import ARRAY

from brain.billing.core.lease import Lease, LeaseMark, LeaseMode, LeaseTerms
from brain.billing.core.writing import WindowRow, Writing
from brain.billing.models import Hold, LeaseBill, MeterLease, MeterWindow
from brain.billing.store.rates import RateName
from brain.plumbing import Tx
from kernel.ids import AccountId, DeploymentId, HoldId, LeaseId

_EVIDENCE = text(
    """
    UPDATE meter_lease l SET evidence_ns = greatest(l.evidence_ns, e.at)
    FROM (SELECT m.lease_id, s.at FROM meter_lease m
          JOIN unnest(:leases, :ats) AS s(id, at) ON s.id = m.lease_id
          WHERE m.closed_ns IS NULL ORDER BY m.lease_id FOR NO KEY UPDATE OF m) e
    WHERE l.lease_id = e.lease_id
    """
).bindparams(bindparam("leases", type_=ARRAY(Text)), bindparam("ats", type_=ARRAY(BigInteger)))

_DUE = text(
    """
    SELECT lease_id FROM usage_waiting WHERE lease_id > :after
    UNION
    SELECT lease_id FROM meter_lease WHERE NOT finished AND lease_id > :after
       AND (closed_ns IS NOT NULL OR (ready_ns IS NOT NULL AND settled_ns < :stale))
    ORDER BY lease_id LIMIT :limit
    """
)
_TERMS = [one.name for one in fields(LeaseTerms)]


def view(row: MeterLease) -> Lease:
    terms = LeaseTerms(
        lease_id=row.lease_id,
        epoch=row.epoch,
        payer=row.payer,
        provider=row.provider,
        gpus=row.gpus,
        renter_rate_nano=row.renter_rate_nano,
        provider_rate_nano=row.provider_rate_nano,
        mode=row.mode,
        pool_rate_nano=row.pool_rate_nano,
        ceiling_prompt_nano=row.ceiling_prompt_nano,
        ceiling_completion_nano=row.ceiling_completion_nano,
        deployment_id=row.deployment_id,
        replica_id=row.replica_id,
        opened_ns=row.opened_ns,
    )
    return Lease(
        terms=terms,
        fee_basis_points=row.fee_basis_points,
        loading_ns=row.loading_ns,
        ready_ns=row.ready_ns,
        draining_ns=row.draining_ns,
        evidence_ns=row.evidence_ns,
        closed_ns=row.closed_ns,
        settled_ns=row.settled_ns,
        busy_ready_ns=int(row.busy_ready_ns),
        busy_drain_ns=int(row.busy_drain_ns),
        rounding_ns=int(row.rounding_ns),
        late_ns=int(row.late_ns),
        billed_ns=row.billed_ns,
        hold_id=row.hold_id,
    )


_OPEN = text(
    """
    INSERT INTO meter_lease (lease_id, epoch, payer, provider, gpus, mode, renter_rate_nano,
        provider_rate_nano, pool_rate_nano, ceiling_prompt_nano, ceiling_completion_nano,
        fee_basis_points, deployment_id, replica_id, opened_ns, evidence_ns, settled_ns,
        busy_ready_ns, busy_drain_ns, rounding_ns, late_ns, billed_nano, earned_nano, hold_id,
        finished)
    VALUES (:lease_id, :epoch, :payer, :provider, :gpus, :mode, :renter_rate_nano,
        :provider_rate_nano, :pool_rate_nano, :ceiling_prompt_nano, :ceiling_completion_nano,
        (SELECT value FROM rate WHERE name = :fee AND starts_at <= :at
         ORDER BY starts_at DESC LIMIT 1),
        :deployment_id, :replica_id, :opened_ns, :opened_ns, :opened_ns, 0, 0, 0, 0, 0, 0,
        :hold_id, false)
    ON CONFLICT (lease_id) DO NOTHING RETURNING lease_id
    """
)


async def insert(tx: Tx, terms: LeaseTerms, hold: HoldId | None, at: datetime) -> bool:
    """Put a lease on the meter at the platform's fee of ``at``; False when it is there already.
    One round trip: claims are many."""
    values = {
        **{name: getattr(terms, name) for name in _TERMS},
        "mode": str(terms.mode),
        "fee": RateName.PLATFORM_FEE.value,
        "at": at,
        "hold_id": hold,
    }
    return (await tx.scalar(_OPEN, values)) is not None


async def get(tx: Tx, id: LeaseId, *, lock: bool = False) -> MeterLease | None:
    query = select(MeterLease).where(MeterLease.lease_id == id)
    if lock:
        query = query.with_for_update(key_share=True)
    return await tx.scalar(query.execution_options(populate_existing=True))


async def take(tx: Tx, id: LeaseId) -> MeterLease | None:
    """Lock a lease, unless another process works on it."""
    return await tx.scalar(
        select(MeterLease)
        .where(MeterLease.lease_id == id)
        .with_for_update(key_share=True, skip_locked=True)
        .execution_options(populate_existing=True)
    )


def save(tx: Tx, row: MeterLease, writing: Writing, *, finished: bool) -> None:
    """What a settlement or a bill changed, onto the locked row, and the bills themselves."""
    tx.add_all(
        LeaseBill(
            lease_id=row.lease_id,
            from_ns=bill.from_ns,
            until_ns=bill.until_ns,
            charge_nano=bill.charge.nano,
            earned_nano=bill.earned.nano,
        )
        for bill in writing.bills
    )
    lease = writing.lease
    row.settled_ns = lease.settled_ns
    row.evidence_ns = lease.evidence_ns
    row.busy_ready_ns = Decimal(lease.busy_ready_ns)
    row.busy_drain_ns = Decimal(lease.busy_drain_ns)
    row.rounding_ns = Decimal(lease.rounding_ns)
    row.late_ns = Decimal(lease.late_ns)
    row.billed_ns = lease.billed_ns
    row.billed_nano += sum(bill.charge.nano for bill in writing.bills)
    row.earned_nano += sum(bill.earned.nano for bill in writing.bills)
    row.finished = finished


async def add_windows(tx: Tx, id: LeaseId, windows: Sequence[WindowRow], at: datetime) -> None:
    tx.add_all(
        MeterWindow(
            lease_id=id,
            start_ns=window.start_ns,
            end_ns=window.end_ns,
            busy_ns=window.busy_ns,
            shared_ticks=Decimal(window.shared_ticks),
            posted_ns=window.posted_ns,
            rounding_ns=window.rounding_ns,
            at=at,
        )
        for window in windows
    )
    await tx.flush()


async def mark(tx: Tx, id: LeaseId, mark: LeaseMark, at_ns: int) -> None:
    """Set a phase mark once; the first word counts. Drain never begins in a posted window, and
    no mark lies before the lease or the mark before it."""
    column = {
        LeaseMark.LOADING: MeterLease.loading_ns,
        LeaseMark.READY: MeterLease.ready_ns,
        LeaseMark.DRAINING: MeterLease.draining_ns,
    }[mark]
    least: list[Any] = [at_ns, MeterLease.opened_ns]
    if mark is LeaseMark.READY:
        least.append(MeterLease.loading_ns)
    if mark is LeaseMark.DRAINING:
        least += [MeterLease.ready_ns, MeterLease.settled_ns]
    values: dict[Any, Any] = {column: func.greatest(*least)}
    if mark is not LeaseMark.DRAINING:  # the brain asks for a drain; it is no sign of life
        values[MeterLease.evidence_ns] = func.greatest(MeterLease.evidence_ns, at_ns)
    if mark is LeaseMark.READY:
        values[MeterLease.settled_ns] = func.greatest(MeterLease.settled_ns, *least[:2])
    await tx.execute(
        update(MeterLease)
        .where(
            MeterLease.lease_id == id,
            column.is_(None),
            MeterLease.closed_ns.is_(None),
            *([MeterLease.ready_ns.is_(None)] if mark is LeaseMark.LOADING else []),
        )
        .values(values)
    )


async def evidence(tx: Tx, seen: Mapping[LeaseId, int]) -> None:
    ids = sorted(seen)
    await tx.execute(_EVIDENCE, {"leases": ids, "ats": [seen[id] for id in ids]})


async def close(
    tx: Tx, id: LeaseId, at_ns: int, outcome: str, *, evident_since_ns: int | None
) -> None:
    """The lease ends at ``at_ns``, once. It was alive until then if there was evidence at or after
    ``evident_since_ns``; None: it was not."""
    values: dict[Any, Any] = {
        # Never before what was seen alive, and so never inside a posted span.
        MeterLease.closed_ns: func.greatest(at_ns, MeterLease.opened_ns, MeterLease.evidence_ns),
        MeterLease.outcome: outcome,
    }
    if evident_since_ns is not None:
        values[MeterLease.evidence_ns] = case(
            (MeterLease.evidence_ns < evident_since_ns, MeterLease.evidence_ns),
            else_=func.greatest(MeterLease.evidence_ns, at_ns),
        )
    await tx.execute(
        update(MeterLease)
        .where(MeterLease.lease_id == id, MeterLease.closed_ns.is_(None))
        .values(values)
    )


async def due(tx: Tx, *, after: str, stale_ns: int, limit: int) -> list[LeaseId]:
    """Leases to settle, by id: with usage that waits, closed and not finished, or long idle."""
    rows = await tx.execute(_DUE, {"after": after, "stale": stale_ns, "limit": limit})
    return [LeaseId(row.lease_id) for row in rows]


async def accruing(tx: Tx, *, after: str, limit: int) -> list[tuple[MeterLease, int]]:
    """Open leases by id, each with what is open of its hold."""
    rows = await tx.execute(
        select(MeterLease, Hold.amount - Hold.captured - Hold.released)
        .outerjoin(Hold, Hold.id == MeterLease.hold_id)
        .where(
            MeterLease.lease_id > LeaseId(after),
            MeterLease.closed_ns.is_(None),
            ~MeterLease.finished,
        )
        .order_by(MeterLease.lease_id)
        .limit(limit)
    )
    return [(row[0], row[1] or 0) for row in rows]


async def covered(tx: Tx, payer: AccountId) -> bool:
    """Has this account a lease that its hold still covers: one that is not settled to the end?"""
    query = select(MeterLease.lease_id).where(
        MeterLease.payer == payer, MeterLease.hold_id.is_not(None), ~MeterLease.finished
    )
    return (await tx.scalar(query.limit(1))) is not None


async def spent(tx: Tx, deployment: DeploymentId) -> tuple[int, list[MeterLease]]:
    """Nano-dollars posted for a deployment's dedicated leases, and those that accrue still."""
    mine = (MeterLease.deployment_id == deployment, MeterLease.mode != LeaseMode.POOL.value)
    posted = await tx.scalar(
        select(func.coalesce(func.sum(MeterLease.billed_nano), 0)).where(*mine)
    )
    rows = await tx.scalars(select(MeterLease).where(*mine, ~MeterLease.finished))
    return int(posted or 0), list(rows)


async def renter_rate(tx: Tx, id: LeaseId) -> int | None:
    """Nano-dollars per GPU-hour."""
    found: int | None = await tx.scalar(
        select(MeterLease.renter_rate_nano).where(MeterLease.lease_id == id)
    )
    return found


async def bills(tx: Tx, id: LeaseId) -> list[LeaseBill]:
    rows = await tx.scalars(
        select(LeaseBill).where(LeaseBill.lease_id == id).order_by(LeaseBill.from_ns)
    )
    return list(rows)
