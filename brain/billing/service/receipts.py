"""Receipts: what a request or a lease cost and why, with all that is needed to recompute it."""

from __future__ import annotations

from typing import Any

from brain.billing.core import books
from brain.billing.core.lease import Lease, buckets
from brain.billing.core.posting import POOL_REVENUE
from brain.billing.core.receipt import (
    VERSION,
    Posted,
    Settled,
    Viewer,
    exact_nano,
    exact_usd,
    explain,
    gpu_seconds,
    show_window,
)
from brain.billing.core.window import refunded
from brain.billing.models import LeaseCredit, MeterLease, MeterWindow, UsageSegment
from brain.billing.store import journal, leases, receipts
from brain.plumbing import Ctx, Tx
from kernel.errors import NotFound
from kernel.ids import AccountId, DeploymentId, LeaseId, RequestId
from kernel.money import TICKS_PER_GPU_NS, HourlyRate, Money

LEASES_SHOWN_MAX = 20


async def request_receipt(ctx: Ctx, account: AccountId, request: RequestId) -> dict[str, Any]:
    """A request of this account, window by window. ``NotFound`` for another account's."""
    async with ctx.db.begin() as tx:
        mine = await receipts.of_request(tx, account, request)
        if not mine:
            raise NotFound("There is no such request in this account's usage.")
        rows = await receipts.rates_of(tx, sorted({s.lease_id for s in mine}))
        windows: list[dict[str, Any]] = []
        for lease_id in sorted(rows):
            lease = leases.view(rows[lease_id])
            part = [s for s in mine if s.lease_id == lease_id]
            windows += await _windows_of(tx, lease, part, Viewer(account, request))
        keys = [w.pop("key") for w in windows] + [books.waiver_key(s.key) for s in mine]
        ledger = await journal.booked(tx, keys)
    _book(windows, ledger)
    last = leases.view(rows[mine[-1].lease_id])
    return _request(mine, rows, windows, ledger, last)


def _request(
    mine: list[UsageSegment],
    rows: dict[str, MeterLease],
    windows: list[dict[str, Any]],
    ledger: list[dict[str, Any]],
    last: Lease,
) -> dict[str, Any]:
    ticks = sum(int(s.settled_ticks) for s in mine)
    waived = [(s.waived_to or "", int(s.waived_units)) for s in mine if s.waived_units]
    gross = sum(int(s.settled_ticks) * _rate(rows[s.lease_id], s.account_id) for s in mine)
    units = gross - sum(less for _, less in waived)
    settled = all(s.folded for s in mine) and mine[-1].ending != "open"
    told = explain(last, ticks, sum(s.end_ns - s.start_ns for s in mine), units, waived)
    if not settled:
        told.append("It is not settled yet: its last window is still open.")
    late = sum(int(s.late_ticks) for s in mine)
    if any(s.late_until_ns for s in mine):
        told.append("A part was reported after its window had closed; it is charged to nobody.")
    return {
        "v": VERSION,
        "kind": "request",
        "request_id": mine[0].request_id,
        "account_id": str(mine[0].account_id),
        "deployment_id": str(mine[0].deployment_id),
        "model": mine[0].model,
        "settled": settled,
        "explanation": told,
        "share": {
            "ticks": ticks,
            "ticks_per_gpu_ns": TICKS_PER_GPU_NS,
            "gpu_seconds": gpu_seconds(ticks),
            "late_ticks": late,
        },
        "cost": {
            "units": units,
            "waived_units": gross - units,
            "nano": exact_nano(units),
            "usd": exact_usd(units),
        },
        "attempts": _attempts(mine, rows),
        "segments": [_segment(s) for s in mine],
        "windows": windows,
        "ledger": ledger,
    }


def _rate(row: MeterLease, account: AccountId) -> int:
    """The price of a share. The platform pays nothing to itself."""
    return row.pool_rate_nano if row.mode == "pool" and account != row.payer else 0


def _attempts(mine: list[UsageSegment], rows: dict[str, MeterLease]) -> list[dict[str, Any]]:
    shown = []
    for number in sorted({s.attempt for s in mine}):
        parts = [s for s in mine if s.attempt == number]
        row, last = rows[parts[-1].lease_id], parts[-1]
        rate = _rate(row, last.account_id)
        bounded = rate and not last.tokens_estimated  # an estimate sets no ceiling
        shown.append(
            {
                "attempt": number,
                "lease_id": str(row.lease_id),
                "mode": row.mode,
                "rate_nano": rate,
                "ceiling_prompt_nano": row.ceiling_prompt_nano if bounded else 0,
                "ceiling_completion_nano": row.ceiling_completion_nano if bounded else 0,
                "prompt_tokens": sum(s.prompt_tokens for s in parts),
                "completion_tokens": sum(s.completion_tokens for s in parts),
                "tokens_estimated": last.tokens_estimated,
                "status": last.status,
                "ended": last.ending != "open" and last.folded,
                "failed": refunded(last.ending, last.status),
            }
        )
    return shown


def _segment(row: UsageSegment) -> dict[str, Any]:
    return {
        "key": row.key,
        "attempt": row.attempt,
        "number": row.number,
        "start_ns": row.start_ns,
        "end_ns": row.end_ns,
        "weight": row.weight,
        "end": row.ending,
        "status": row.status,
        "settled_ticks": int(row.settled_ticks),
        "late_ticks": int(row.late_ticks),
        "outside_ns": row.outside_ns,
        "folded": row.folded,
    }


async def _windows_of(
    tx: Tx, lease: Lease, mine: list[UsageSegment], viewer: Viewer
) -> list[dict[str, Any]]:
    low, high = min(s.start_ns for s in mine), max(s.end_ns for s in mine)
    found = await receipts.windows(tx, lease.id, low_ns=low, high_ns=high)
    if not found:
        return []
    near = await receipts.segments_between(tx, lease.id, found[0].start_ns, found[-1].end_ns)
    seen = [_settled(s) for s in near]
    shown = []
    for row in found:
        window = show_window(lease, _posted(row), seen, viewer)
        window["key"] = books.window_key(lease.id, row.start_ns, viewer.account)
        charged = lease.pooled and viewer.account != lease.terms.payer
        window["gross_nano"] = 0 if charged else None
        shown.append(window)
    return shown


def _settled(row: UsageSegment) -> Settled:
    start = row.start_ns if row.late_until_ns is None else max(row.start_ns, row.late_until_ns)
    return Settled(
        key=row.key,
        account=row.account_id,
        request=row.request_id,
        attempt=row.attempt,
        number=row.number,
        weight=row.weight,
        from_ns=start,
        until_ns=row.open_ns,
    )


def _posted(row: MeterWindow) -> Posted:
    return Posted(row.start_ns, row.end_ns, row.busy_ns)


def _book(windows: list[dict[str, Any]], ledger: list[dict[str, Any]]) -> None:
    """Put each window's transaction and the account's gross charge beside it."""
    by_window: dict[tuple[str, int], dict[str, Any]] = {}
    for entry in ledger:
        kind, _, rest = entry.pop("key").partition("/")
        if kind == "window":
            lease, start, _ = rest.split("/")
            by_window[(lease, int(start))] = entry
    for window in windows:
        booked = by_window.get((window["lease_id"], window["start_ns"]))
        if booked is None:
            continue
        window["transaction"] = str(booked["id"])
        if window["gross_nano"] is not None:
            window["gross_nano"] = sum(
                e["amount"] for e in booked["entries"] if e["account"] == POOL_REVENUE
            )


async def lease_receipt(ctx: Ctx, account: AccountId, id: LeaseId) -> dict[str, Any]:
    """A lease, for who pays for it and who earns by it. ``NotFound`` for anyone else."""
    async with ctx.db.begin() as tx:
        row = await receipts.lease(tx, id)
        if row is None or account not in (row.payer, row.provider):
            raise NotFound("There is no such lease that this account pays for or earns by.")
        return await _lease(tx, row, account)


async def deployment_receipt(ctx: Ctx, account: AccountId, id: DeploymentId) -> dict[str, Any]:
    """The newest leases of a deployment, for its owner. ``NotFound`` for anyone else."""
    async with ctx.db.begin() as tx:
        rows = await receipts.leases_of(tx, id, LEASES_SHOWN_MAX)
        mine = [row for row in rows if row.payer == account]
        if not mine:
            raise NotFound("There is no lease of such a deployment that this account pays for.")
        shown = [await _lease(tx, row, account) for row in mine]
    total = sum(lease["billed_nano"] for lease in shown)
    return {
        "v": VERSION,
        "kind": "deployment",
        "deployment_id": str(id),
        "billed_nano": total,
        "billed_usd": str(Money(total)),
        "leases": shown,
    }


async def _lease(tx: Tx, row: MeterLease, account: AccountId) -> dict[str, Any]:
    lease = leases.view(row)
    found = await receipts.windows(tx, lease.id, low_ns=0, high_ns=2**62)
    near = (
        await receipts.segments_between(tx, lease.id, found[0].start_ns, found[-1].end_ns)
        if found
        else []
    )
    cut = len(found) == receipts.WINDOWS_MAX or len(near) == receipts.SEGMENTS_MAX
    seen = [_settled(s) for s in near]
    windows = [] if cut else [show_window(lease, _posted(w), seen, Viewer(account)) for w in found]
    bills = await leases.bills(tx, lease.id)
    credit = await tx.get(LeaseCredit, lease.id)
    ledger = await journal.booked(
        tx,
        [books.lease_bill_key(lease.id, b.from_ns) for b in bills]
        + [books.lease_close_key(lease.id), books.lease_credit_key(lease.id)],
    )
    shown = _lease_facts(row, lease)
    shown.update(
        windows=windows,
        truncated=cut,
        bills=[
            {
                "from_ns": b.from_ns,
                "until_ns": b.until_ns,
                "charge_nano": b.charge_nano,
                "earned_nano": b.earned_nano,
            }
            for b in bills
        ],
        credit=None if credit is None else _credit(credit),
        ledger=[{k: v for k, v in tx.items() if k != "key"} for tx in ledger],
    )
    if credit is not None:
        shown["explanation"].append(f"{credit.reason}: {Money(credit.credit_nano)} went back.")
    return shown


def _credit(row: LeaseCredit) -> dict[str, Any]:
    return {
        "gpu_ns": row.gpu_ns,
        "credit_nano": row.credit_nano,
        "taken_back_nano": row.taken_back_nano,
        "reason": row.reason,
        "at_ns": row.at_ns,
    }


def _lease_facts(row: MeterLease, lease: Lease) -> dict[str, Any]:
    closed = lease.closed_ns is not None
    parts = {b.value: n for b, n in buckets(lease).items()} if closed else {}
    busy = lease.busy_ready_ns + lease.busy_drain_ns
    return {
        "v": VERSION,
        "kind": "lease",
        "lease_id": str(lease.id),
        "deployment_id": str(row.deployment_id),
        "replica_id": str(row.replica_id),
        "mode": row.mode,
        "gpus": row.gpus,
        "renter_rate_nano": row.renter_rate_nano,
        "fee_basis_points": row.fee_basis_points,
        "opened_ns": row.opened_ns,
        "loading_ns": row.loading_ns,
        "ready_ns": row.ready_ns,
        "draining_ns": row.draining_ns,
        "evidence_ns": row.evidence_ns,
        "closed_ns": row.closed_ns,
        "outcome": row.outcome,
        "final": row.finished,
        "buckets": parts,
        "busy_ns": busy,
        "late_ns": lease.late_ns,
        "rounding_ns": lease.rounding_ns,
        "billed_nano": row.billed_nano,
        "billed_usd": str(Money(row.billed_nano)),
        "earned_nano": row.earned_nano,
        "explanation": _explain_lease(row, lease, parts),
    }


def _explain_lease(row: MeterLease, lease: Lease, parts: dict[str, int]) -> list[str]:
    rate = HourlyRate(row.renter_rate_nano)
    told = [f"{row.gpus} GPU at {rate}; load, busy, idle and drain time is billed."]
    if parts:
        shown = ", ".join(f"{name} {n / 1e9:.3f} s" for name, n in parts.items())
        told.append(f"GPU time by bucket: {shown}; together all of the lease, to the nanosecond.")
    if lease.closed_ns is not None and lease.ready_ns is None:
        told.append("It never became ready, so nothing of it is billed.")
    if parts.get("lost"):
        told.append("There was no sign of life at its end: that time is lost and not billed.")
    if lease.pooled:
        told.append("It serves the shared pool: requests pay for their shares, not for the lease.")
    told.append(f"Billed so far: {Money(row.billed_nano)}.")
    return told
