"""Pure: what the two sides' counts of a lease come to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from kernel.clock import NS

# What two honest counts may differ by: the agent looks at every beat, and a lease's first and last
# moments lie between two looks.
TOLERANCE_NS = 30 * NS
TOLERANCE_PERCENT = 1


class Kind(StrEnum):
    LESS = "less_signed"  # the node signed for less than was billed: the difference goes back
    MORE = "more_signed"  # it signed for more than the lease lasted: nothing is paid for that
    CHAIN = "chain_broken"  # its records contradict each other


@dataclass(frozen=True)
class Counts:
    """GPU-nanoseconds. ``capacity``: GPUs times the lease's whole time, as we saw it."""

    gpus: int
    billed: int
    capacity: int
    signed: int
    broken: str = ""


@dataclass(frozen=True)
class Verdict:
    kind: Kind
    reason: str
    unproven: int = 0  # GPU-ns that were billed and are not paid


def tolerance(gpus: int, gpu_ns: int) -> int:
    return max(TOLERANCE_NS * gpus, gpu_ns * TOLERANCE_PERCENT // 100)


def judge(counts: Counts) -> Verdict | None:
    """None when the two agree. The node's word lowers a bill and never raises it."""
    unproven = max(0, counts.billed - counts.signed)
    if unproven > tolerance(counts.gpus, counts.billed):
        said = (
            f"The node signed for {_seconds(counts.signed)} GPU-seconds of"
            f" {_seconds(counts.billed)} that were billed"
        )
        if counts.broken:
            said = f"{said} ({counts.broken})"
            return Verdict(Kind.CHAIN, said, unproven)
        return Verdict(Kind.LESS, said, unproven)
    if counts.broken:
        return Verdict(Kind.CHAIN, f"The node's records do not hold together: {counts.broken}")
    if counts.signed > counts.capacity + tolerance(counts.gpus, counts.capacity):
        return Verdict(
            Kind.MORE,
            f"The node signed for {_seconds(counts.signed)} GPU-seconds; the lease lasted"
            f" {_seconds(counts.capacity)}",
        )
    return None


def _seconds(gpu_ns: int) -> str:
    return f"{gpu_ns // NS}.{gpu_ns % NS // 10**8}"
