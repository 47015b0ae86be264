"""What settlement writes into the journal: each decision as a balanced transaction. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from brain.billing.core.charge import Bill, Share, spread
from brain.billing.core.credit import Credit
from brain.billing.core.lease import Lease, LeaseMode, buckets, earning
from brain.billing.core.posting import (
    CEILING,
    FEES,
    LATE,
    LEASE_REVENUE,
    POOL_COST,
    POOL_REVENUE,
    REFUNDS,
    Asset,
    Bucket,
    Capture,
    Entry,
    Posting,
    lease_line,
    pending,
)
from brain.billing.core.window import Window
from kernel.clock import NS
from kernel.ids import AccountId, HoldId, LeaseId, TxId
from kernel.money import TICKS_PER_GPU_NS, HourlyRate, Money

ROUNDING = "rounding"
CAPACITY = "capacity"


def clock_text(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns // NS, UTC).strftime("%Y-%m-%d %H:%M:%S")


def window_key(lease: LeaseId, start_ns: int, account: str) -> str:
    return f"window/{lease}/{start_ns}/{account}"


def waiver_key(segment: str) -> str:
    return f"waiver/{segment}"


def lease_credit_key(lease: LeaseId) -> str:
    return f"lease-credit/{lease}"


def lease_bill_key(lease: LeaseId, from_ns: int) -> str:
    return f"lease/{lease}/{from_ns}"


def lease_close_key(lease: LeaseId) -> str:
    return f"lease-close/{lease}"


def pod_key(lease: LeaseId) -> str:
    return f"pod-time/{lease}"


def late_key(lease: LeaseId, segment: str, from_ns: int) -> str:
    return f"late/{lease}/{segment}/{from_ns}"


def _entries(*entries: Entry) -> tuple[Entry, ...]:
    return tuple(entry for entry in entries if entry.amount)


def _money(account: str, bill: Bill) -> tuple[Entry, ...]:
    return (
        Entry(account, Asset.USD, -bill.net),
        Entry(POOL_REVENUE, Asset.USD, bill.gross),
        Entry(CEILING, Asset.USD, -bill.ceiling),
        Entry(REFUNDS, Asset.USD, -bill.refunds),
    )


def window_posting(
    id: TxId, lease: Lease, window: Window, account: AccountId, share: Share, bill: Bill | None
) -> Posting | None:
    """One account's window on one replica: its GPU time, and in the pool its money."""
    gpu_ns, refunded, earlier = share.gpu_ns(), share.refunded_ns(), share.earlier_refunded_ticks
    moved = earlier // TICKS_PER_GPU_NS
    busy = lease_line(lease.id, Bucket.BUSY)
    entries = _entries(
        *(_money(account, bill) if bill is not None else ()),
        Entry(busy, Asset.GPUNS, -(gpu_ns + refunded)),
        Entry(account, Asset.GPUNS, gpu_ns - moved),
        Entry(REFUNDS, Asset.GPUNS, refunded + moved),
    )
    if not entries:
        return None
    requests = f"{len(share.requests)} request{'s' if len(share.requests) != 1 else ''}"
    what = "Shared pool" if bill is not None else "Own deployment (shown, not charged here)"
    return Posting(
        id=id,
        key=window_key(lease.id, window.start_ns, account),
        kind="pool_window" if bill is not None else "dedicated_window",
        memo=f"{what}: {requests}, window of {clock_text(window.start_ns)} UTC",
        entries=entries,
        captures=_captures(bill, share),
    )


def _captures(bill: Bill | None, share: Share) -> tuple[Capture, ...]:
    if bill is None:
        return ()
    parts = spread(bill.net, share.by_slice)
    return tuple(Capture(HoldId(slice), nano) for slice, nano in sorted(parts.items()))


def waiver_posting(id: TxId, account: AccountId, segment: str, bill: Bill) -> Posting | None:
    """What comes off a bill whose last news was late: its windows are not reopened."""
    entries = _entries(*_money(account, bill))
    if not entries:
        return None
    memo = "Taken off the bill of a request whose end was reported late"
    return Posting(id, waiver_key(segment), "waiver", memo, entries)


def late_posting(
    id: TxId, lease: Lease, *, ready_ns: int, drain_ns: int, finished: bool, key: str
) -> Posting | None:
    """GPU time whose news came late: charged to nobody. Before the close it is busy time like
    any other; after it, it is taken from where the close had put it."""
    entries = _entries(
        Entry(LATE, Asset.GPUNS, ready_ns + drain_ns),
        Entry(lease_line(lease.id, Bucket.BUSY), Asset.GPUNS, -(ready_ns + drain_ns))
        if not finished
        else Entry(lease_line(lease.id, Bucket.IDLE), Asset.GPUNS, -ready_ns),
        Entry(lease_line(lease.id, Bucket.DRAIN), Asset.GPUNS, -drain_ns if finished else 0),
    )
    if not entries:
        return None
    return Posting(id, key, "late_usage", "GPU time reported after its window closed", entries)


def close_posting(id: TxId, lease: Lease) -> Posting | None:
    """Every GPU-ns of the lease into its bucket, and the indivisible rest out of busy."""
    parts = buckets(lease)
    busy = lease_line(lease.id, Bucket.BUSY)
    entries = _entries(
        Entry(lease_line(lease.id, CAPACITY), Asset.GPUNS, -sum(parts.values())),
        *(Entry(lease_line(lease.id, b), Asset.GPUNS, n) for b, n in parts.items()),
        Entry(busy, Asset.GPUNS, -lease.rounding_ns),
        Entry(lease_line(lease.id, ROUNDING), Asset.GPUNS, lease.rounding_ns),
    )
    if not entries:
        return None
    memo = f"Lease closed: {sum(parts.values())} GPU-ns in six buckets"
    return Posting(id, lease_close_key(lease.id), "lease_close", memo, entries)


def pod_posting(id: TxId, lease: Lease) -> Posting | None:
    """A pod's busy time is its owner's, as a request's share is its account's."""
    busy = lease.busy_ready_ns + lease.busy_drain_ns
    entries = _entries(
        Entry(lease_line(lease.id, Bucket.BUSY), Asset.GPUNS, -busy),
        Entry(lease.terms.payer, Asset.GPUNS, busy),
    )
    if not entries:
        return None
    memo = f"Pod: {busy} GPU-ns from its start to its end (shown, not charged here)"
    return Posting(id, pod_key(lease.id), "pod_time", memo, entries)


@dataclass(frozen=True)
class LeaseBill:
    """Time of a lease turned into money: ``charge`` to the payer, ``earned`` by the provider."""

    from_ns: int
    until_ns: int
    charge: Money
    earned: Money
    carry: int


def carrier(lease: Lease, platform: AccountId) -> str:
    """The ledger account that pays for the lease's time, and keeps the carry."""
    free = lease.terms.mode == LeaseMode.POOL or lease.terms.payer == platform
    return POOL_COST if free else lease.terms.payer


def bill_lease(lease: Lease, until_ns: int, carry: int, platform: AccountId) -> LeaseBill | None:
    """The bill of what is not billed yet, up to ``until_ns`` or the last evidence. None: nothing
    is billable, as for a boot that never became ready."""
    start = lease.billed_ns if lease.billed_ns is not None else lease.load_from_ns
    if lease.ready_ns is None or start is None:
        return None
    ticks = lease.unbilled_ticks(until_ns)
    if not ticks:
        return None
    charge, rest = HourlyRate(lease.terms.renter_rate_nano).charge_ticks(ticks, carry)
    end = start + ticks // (lease.terms.gpus * TICKS_PER_GPU_NS)
    ours = lease.terms.provider in (None, platform)
    earned = Money(0) if ours else earning(charge, lease.fee_basis_points)
    return LeaseBill(start, end, charge, earned, rest)


def lease_posting(id: TxId, lease: Lease, bill: LeaseBill, platform: AccountId) -> Posting | None:
    """The payer's charge, the provider's earning and our fee. For the pool we pay the provider."""
    payer = carrier(lease, platform)
    provider = lease.terms.provider
    to_provider = bill.earned.nano
    fee = bill.charge.nano - to_provider if payer != POOL_COST else 0
    entries = _entries(
        Entry(payer, Asset.USD, -(to_provider + fee)),
        Entry(pending(provider) if provider is not None else LEASE_REVENUE, Asset.USD, to_provider),
        Entry(LEASE_REVENUE if provider in (None, platform) else FEES, Asset.USD, fee),
    )
    if not entries:
        return None
    hours = f"{clock_text(bill.from_ns)} to {clock_text(bill.until_ns)} UTC"
    held = lease.hold_id is not None and bill.charge.nano > 0
    return Posting(
        id=id,
        key=lease_bill_key(lease.id, bill.from_ns),
        kind="lease_time",
        memo=f"{lease.terms.gpus} GPU, {hours}, {HourlyRate(lease.terms.renter_rate_nano)}",
        entries=entries,
        captures=(Capture(lease.hold_id, bill.charge.nano),) if held and lease.hold_id else (),
    )


def credit_posting(
    id: TxId, lease: Lease, credit: Credit, reason: str, platform: AccountId
) -> Posting | None:
    """The bill's way back: what ``lease_posting`` booked, of so much money. None: it is nothing."""
    payer, provider = carrier(lease, platform), lease.terms.provider
    fee = credit.nano - credit.taken_back_nano if payer != POOL_COST else 0
    entries = _entries(
        Entry(payer, Asset.USD, credit.taken_back_nano + fee),
        Entry(
            pending(provider) if provider is not None else LEASE_REVENUE,
            Asset.USD,
            -credit.taken_back_nano,
        ),
        Entry(LEASE_REVENUE if provider in (None, platform) else FEES, Asset.USD, -fee),
    )
    if not entries:
        return None
    return Posting(id, lease_credit_key(lease.id), "lease_credit", reason, entries)


def ledger_names(lease: Lease, accounts: set[AccountId]) -> set[tuple[str, Asset]]:
    """Every balance that settling this lease may touch, to be locked at once, in order."""
    names: set[tuple[str, Asset]] = {(account, asset) for account in accounts for asset in Asset}
    names |= {(n, Asset.USD) for n in (POOL_REVENUE, CEILING, REFUNDS)}
    names |= {(n, Asset.GPUNS) for n in (REFUNDS, LATE)}
    if lease.terms.mode == LeaseMode.POD:
        names.add((lease.terms.payer, Asset.GPUNS))
    lines = (*Bucket, ROUNDING, CAPACITY)
    return names | {(lease_line(lease.id, line), Asset.GPUNS) for line in lines}


def bill_names(lease: Lease, platform: AccountId) -> set[tuple[str, Asset]]:
    """Every balance that billing this lease's time may touch."""
    names = {carrier(lease, platform), FEES, LEASE_REVENUE}
    if lease.terms.provider is not None:
        names.add(pending(lease.terms.provider))
    return {(name, Asset.USD) for name in names}
