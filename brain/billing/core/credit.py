"""What a lease's GPU time that was billed and not proven is worth. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from brain.billing.core.lease import Lease, earning
from kernel.money import CARRY_DIVISOR, TICKS_PER_GPU_NS, Money


@dataclass(frozen=True)
class Credit:
    """``nano`` goes back to the payer; ``taken_back_nano`` of it was the provider's."""

    nano: int
    taken_back_nano: int


def credit_for(lease: Lease, *, unproven_gpu_ns: int, billed_nano: int, earned_nano: int) -> Credit:
    """The price of so much GPU time, rounded down, and never more than was billed or earned."""
    assert unproven_gpu_ns >= 0, "time is never negative"
    ticks = unproven_gpu_ns * TICKS_PER_GPU_NS
    nano = min(lease.terms.renter_rate_nano * ticks // CARRY_DIVISOR, billed_nano)
    earned = earning(Money(nano), lease.fee_basis_points).nano
    return Credit(nano, min(earned, earned_nano))
