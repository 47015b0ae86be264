"""What a receipt shows of windows and spans: enough to recompute, nothing of other accounts. Pure.

The counterpart that recomputes is ``kernel.receipt``, which needs nothing of the brain.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from brain.billing.core.lease import Lease
from brain.billing.core.window import Interval
from kernel.gpu_time import Span, share_window
from kernel.ids import AccountId
from kernel.money import CARRY_DIVISOR, NANO, TICKS_PER_GPU_NS, HourlyRate

VERSION = 1


@dataclass(frozen=True)
class Settled:
    """The part of a segment that posted windows have seen: [from_ns, until_ns)."""

    key: str
    account: AccountId
    request: str
    attempt: int
    number: int
    weight: int
    from_ns: int
    until_ns: int


@dataclass(frozen=True)
class Posted:
    """A posted window, with the account's gross charge in it where it was charged."""

    start_ns: int
    end_ns: int
    busy_ns: int
    gross_nano: int | None = None
    transaction: str | None = None


@dataclass(frozen=True)
class Viewer:
    """For whom a receipt is made, and of which request (None: of a whole lease)."""

    account: AccountId
    request: str | None = None

    def whose(self, settled: Settled) -> str:
        if settled.request == self.request:
            return "request"
        return "account" if settled.account == self.account else "other"


def limits(lease: Lease) -> Interval:
    """Where residence could count, as settlement has it."""
    if lease.ready_ns is None:
        return (0, 0)
    return (lease.ready_ns, lease.closed_ns if lease.closed_ns is not None else 2**63 - 1)


def clip(settled: Settled, low_ns: int, high_ns: int) -> Interval | None:
    start, end = max(settled.from_ns, low_ns), min(settled.until_ns, high_ns)
    return (start, end) if end > start else None


def show_window(
    lease: Lease, window: Posted, seen: Iterable[Settled], viewer: Viewer
) -> dict[str, Any]:
    """The window with every span that shared it. Other accounts' spans bear no names."""
    low, high = limits(lease)
    inside = [
        (piece, cut)
        for piece in seen
        if (cut := clip(piece, max(low, window.start_ns), min(high, window.end_ns))) is not None
    ]
    spans = [_span(piece, cut, viewer) for piece, cut in inside]
    shares = share_window(
        lease.terms.gpus,
        window.start_ns,
        window.end_ns,
        [Span(str(n), cut[0], cut[1], piece.weight) for n, (piece, cut) in enumerate(inside)],
    )
    mine = sum(shares.by_key.get(str(n), 0) for n, s in enumerate(spans) if s["whose"] == "request")
    return {
        "lease_id": str(lease.id),
        "gpus": lease.terms.gpus,
        "start_ns": window.start_ns,
        "end_ns": window.end_ns,
        "busy_ns": window.busy_ns,
        "rate_nano": lease.terms.pool_rate_nano if lease.pooled else 0,
        "ticks": mine,
        "gross_nano": window.gross_nano,
        "transaction": window.transaction,
        "spans": spans,
    }


def _span(piece: Settled, cut: Interval, viewer: Viewer) -> dict[str, Any]:
    whose = viewer.whose(piece)
    shown: dict[str, Any] = {
        "whose": whose,
        "start_ns": cut[0],
        "end_ns": cut[1],
        "weight": piece.weight,
    }
    if whose != "other":
        shown["request_id"] = piece.request
        shown["attempt"] = piece.attempt
        shown["segment"] = piece.number
    return shown


def exact_nano(units: int) -> str:
    """Units as nano-dollars with six decimals, for people; the units themselves are exact."""
    return str((Decimal(units) / CARRY_DIVISOR).quantize(Decimal("0.000001")))


def exact_usd(units: int) -> str:
    """Units as dollars with fifteen decimals."""
    return f"${Decimal(exact_nano(units)) / NANO:.15f}"


def gpu_seconds(ticks: int) -> str:
    return f"{Decimal(ticks) / TICKS_PER_GPU_NS / NANO:.9f}"


def explain(
    lease: Lease, ticks: int, resident_ns: int, units: int, waived: Sequence[tuple[str, int]]
) -> list[str]:
    """The bill in sentences."""
    gpus = f"{lease.terms.gpus} GPU{'s' if lease.terms.gpus > 1 else ''}"
    told = [
        f"The request was resident for {Decimal(resident_ns) / NANO:.3f} s on {gpus}; it shared"
        f" them with whatever ran beside it, and its share is {gpu_seconds(ticks)} GPU-seconds."
    ]
    if not lease.pooled:
        told.append(
            "It ran on a deployment that is billed by time, so it costs nothing by itself: the"
            " share is shown and never added."
        )
        return told
    rate = HourlyRate(lease.terms.pool_rate_nano)
    told.append(f"The shared pool's price is {rate}; share x price is what it costs.")
    for account, less in waived:
        why = (
            "The worker failed, so nothing of it is charged"
            if account.endswith("refunds")
            else "The published ceiling per token is lower, so the difference is not charged"
        )
        told.append(f"{why}: {exact_usd(less)} less.")
    told.append(
        f"Charged: {exact_usd(units)}. It is booked in whole nano-dollars a window; what is less"
        " than one is carried to the account's next window, so nothing is rounded away."
    )
    return told
