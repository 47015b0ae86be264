"""Money that goes back for a lease's time which its node did not sign for."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select, update

from brain.billing.core import books
from brain.billing.core.credit import Credit, credit_for
from brain.billing.models import LeaseBill, LeaseCredit, MeterLease
from brain.billing.service.grants import restart_if_able
from brain.billing.store import journal, leases
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx, Tx
from kernel.ids import AccountId, LeaseId, TxId


@dataclass(frozen=True)
class Metered:
    """A lease whose bill is final. ``billed_gpu_ns``: the GPU time that was charged."""

    lease_id: LeaseId
    payer: AccountId
    provider: AccountId
    gpus: int
    opened_ns: int
    closed_ns: int
    billed_gpu_ns: int


async def unwitnessed_leases(tx: Tx, *, closed_before_ns: int, limit: int = 100) -> list[Metered]:
    """Leases on providers' machines whose final bill was not compared with the node's word yet,
    the first closed first."""
    span = (
        select(func.sum(LeaseBill.until_ns - LeaseBill.from_ns))
        .where(LeaseBill.lease_id == MeterLease.lease_id)
        .scalar_subquery()
    )
    rows = await tx.execute(
        select(MeterLease, func.coalesce(span, 0))
        .where(
            MeterLease.finished,
            MeterLease.witnessed_ns.is_(None),
            MeterLease.provider.is_not(None),
            MeterLease.closed_ns < closed_before_ns,
        )
        .order_by(MeterLease.closed_ns, MeterLease.lease_id)
        .limit(limit)
    )
    return [
        Metered(
            lease_id=row.lease_id,
            payer=row.payer,
            provider=row.provider,
            gpus=row.gpus,
            opened_ns=row.opened_ns,
            closed_ns=row.closed_ns,
            billed_gpu_ns=int(spans) * row.gpus,
        )
        for row, spans in rows
    ]


async def lease_witnessed(tx: Tx, lease_id: LeaseId, now_ns: int) -> bool:
    """The bill was compared, in the caller's transaction. False: another process did so first."""
    done = await tx.scalar(
        update(MeterLease)
        .where(MeterLease.lease_id == lease_id, MeterLease.witnessed_ns.is_(None))
        .values(witnessed_ns=now_ns)
        .returning(MeterLease.lease_id)
    )
    return done is not None


async def lease_credited(
    tx: Tx, ctx: Ctx, lease_id: LeaseId, *, unproven_gpu_ns: int, reason: str
) -> Credit:
    """Give the payer back what so much of the lease's billed GPU time cost, and take the
    provider's and our part of it back. Once a lease: a repeat returns the first."""
    row = await leases.get(tx, lease_id, lock=True)
    assert row is not None, "a lease that was billed is on the meter"
    assert row.finished, "only a final bill is corrected"
    known = await tx.get(LeaseCredit, lease_id)
    if known is not None:
        return Credit(known.credit_nano, known.taken_back_nano)
    lease = leases.view(row)
    await journal.lock(tx, books.bill_names(lease, PLATFORM_ACCOUNT))
    credit = credit_for(
        lease,
        unproven_gpu_ns=unproven_gpu_ns,
        billed_nano=row.billed_nano,
        earned_nano=row.earned_nano,
    )
    id = ctx.ids.new(TxId)
    posting = books.credit_posting(id, lease, credit, reason, PLATFORM_ACCOUNT)
    if posting is not None:
        await journal.post_all(tx, [posting], ctx.clock.now())
    tx.add(
        LeaseCredit(
            lease_id=lease_id,
            gpu_ns=unproven_gpu_ns,
            credit_nano=credit.nano,
            taken_back_nano=credit.taken_back_nano,
            reason=reason,
            at_ns=ctx.clock.now_ns(),
        )
    )
    await tx.flush()
    return credit


async def after_credit(ctx: Ctx, payer: AccountId) -> None:
    """An account that was stopped for want of this money may go on."""
    await restart_if_able(ctx, payer)
