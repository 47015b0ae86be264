"""What a provider earned, lease by lease and volume by volume, for the room that shows it."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from brain.billing.core.posting import pending
from brain.billing.models import LeaseBill, LeaseCredit, MeterLease, StorageBill
from brain.billing.store import journal
from brain.plumbing import Tx
from kernel.clock import NS
from kernel.ids import AccountId, LeaseId

DAY_NS = 86_400 * NS


@dataclass(frozen=True)
class EarnedDay:
    """Of one lease and one UTC day (days since 1970): GPU time that was billed, and the
    provider's part of it. ``lease_id`` None: volumes."""

    lease_id: LeaseId | None
    day: int
    gpu_ns: int
    earned_nano: int


@dataclass(frozen=True)
class Earned:
    """``pending_nano``: of bills that ended after ``matures_ns``; ``matured_nano``: of earlier
    ones. What went back for time that was not signed for is taken off where its lease's last bill
    lies. ``unpaid_nano``: the ledger's own line, before any payout the sum of the two."""

    pending_nano: int
    matured_nano: int
    unpaid_nano: int


async def earned(tx: Tx, provider: AccountId, matures_ns: int) -> Earned:
    """All that this account ever earned as a provider."""
    lease_young = LeaseBill.until_ns > matures_ns
    bills = await tx.execute(
        select(lease_young, func.sum(LeaseBill.earned_nano))
        .join(MeterLease, MeterLease.lease_id == LeaseBill.lease_id)
        .where(MeterLease.provider == provider)
        .group_by(lease_young)
    )
    sums = {bool(young): int(nano) for young, nano in bills}
    billed_young = MeterLease.billed_ns > matures_ns
    credits = await tx.execute(
        select(billed_young, func.sum(LeaseCredit.taken_back_nano))
        .join(MeterLease, MeterLease.lease_id == LeaseCredit.lease_id)
        .where(MeterLease.provider == provider)
        .group_by(billed_young)
    )
    for young, nano in credits:
        sums[bool(young)] = sums.get(bool(young), 0) - int(nano)
    volume_young = StorageBill.until_ns > matures_ns
    volumes = await tx.execute(
        select(volume_young, func.sum(StorageBill.earned_nano))
        .where(StorageBill.provider == provider)
        .group_by(volume_young)
    )
    for young, nano in volumes:
        sums[bool(young)] = sums.get(bool(young), 0) + int(nano)
    name = pending(provider)
    unpaid = (await journal.balances(tx, [name]))[name].posted
    return Earned(sums.get(True, 0), sums.get(False, 0), unpaid)


async def earned_by_day(tx: Tx, provider: AccountId, since_ns: int) -> list[EarnedDay]:
    """Bills that ended at or after ``since_ns``, summed by lease and day."""
    day = (LeaseBill.until_ns // DAY_NS).label("day")
    rows = await tx.execute(
        select(
            LeaseBill.lease_id,
            day,
            func.sum((LeaseBill.until_ns - LeaseBill.from_ns) * MeterLease.gpus).label("gpu_ns"),
            func.sum(LeaseBill.earned_nano).label("nano"),
        )
        .join(MeterLease, MeterLease.lease_id == LeaseBill.lease_id)
        .where(MeterLease.provider == provider, LeaseBill.until_ns >= since_ns)
        .group_by(LeaseBill.lease_id, "day")
    )
    found = [EarnedDay(r.lease_id, int(r.day), int(r.gpu_ns), int(r.nano)) for r in rows]
    days = (StorageBill.until_ns // DAY_NS).label("day")
    volumes = await tx.execute(
        select(days, func.sum(StorageBill.earned_nano).label("nano"))
        .where(StorageBill.provider == provider, StorageBill.until_ns >= since_ns)
        .group_by("day")
    )
    return found + [EarnedDay(None, int(row.day), 0, int(row.nano)) for row in volumes]
