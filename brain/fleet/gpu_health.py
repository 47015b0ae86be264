"""Pure: is a GPU, by what its driver tells, fit to be sold? The verdict and every reason for it.

What things mean is NVIDIA's word, of these pages:

- XIDs: the "Xid Catalog", its column "Immediate Action"
  (https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html; the same table is in
  NVIDIA/NVSentinel, ``charts/gpu-health-monitor/xiderrorsmapping.csv``). It is of Ampere and newer.
- Memory: "GPU Memory Error Management" (https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/),
  for older cards "Dynamic Page Retirement"
  (https://docs.nvidia.com/deploy/dynamic-page-retirement/).
- The recovery action that the driver itself asks for (since R565): the first of these, "Error
  Recovery and Response Flags".
- XIDs of a tenant's own making: those that NVIDIA's Kubernetes device plugin passes over
  (NVIDIA/k8s-device-plugin, ``internal/rm/health.go``: 13, 31, 43, 45, 68, 109).

What follows from it is ours: not sold is what a reset or a restart has to mend.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Final

from kernel.gpu import (
    HW_POWER_BRAKE,
    HW_THERMAL_SLOWDOWN,
    SW_THERMAL_SLOWDOWN,
    recovery_word,
)
from kernel.wire.agent import GpuReading

REASON_CHARACTERS_MAX = 300
VERDICTS_KEPT = 4096
HEAT = SW_THERMAL_SLOWDOWN | HW_THERMAL_SLOWDOWN
TOLD_BITS = HEAT | HW_POWER_BRAKE  # of the throttle reasons, those that a verdict names
CONTAINED = 94  # the XID that says so


class Level(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"  # it works; told to people, still sold
    BAD = "bad"  # not offered; a lease that runs goes on


@dataclass(frozen=True)
class GpuHealth:
    """``reasons`` are sentences, the worst first; none when it is well."""

    level: Level
    reasons: tuple[str, ...] = ()


_LINK = (Level.DEGRADED, "an NVLink error; if it comes again, reset the GPU and check the link")
# Number -> how bad, what it means. BAD: the catalog's immediate action is to reset the GPU or to
# restart the machine; for 48 its workflow ends there. DEGRADED: "ignore" or "restart the
# application", where it tells of wear; links, since one may report what is broken at its other
# end; 109, whose action is a reset, and which a tenant's program can cause. All others that the
# catalog answers with "ignore" or "restart the application" say nothing about the card.
XIDS: Final[dict[int, tuple[Level, str]]] = {
    46: (Level.BAD, "it stopped (XID 46); reset the GPU"),
    48: (Level.BAD, "an uncorrectable memory error (XID 48); reset the GPU"),
    54: (Level.DEGRADED, "it lacks power (XID 54); check the power cables"),
    62: (Level.BAD, "its controller halted (XID 62); reset the GPU"),
    63: (Level.DEGRADED, "a faulty memory row or page was set aside (XID 63)"),
    64: (Level.BAD, "a faulty memory row or page could not be set aside (XID 64); reset the GPU"),
    74: _LINK,
    79: (Level.BAD, "it fell off the bus (XID 79); restart the machine"),
    92: (Level.DEGRADED, "many corrected memory errors (XID 92)"),
    94: (Level.DEGRADED, "a contained memory error that ended one program (XID 94)"),
    95: (Level.BAD, "an uncontained memory error (XID 95); reset the GPU"),
    109: (Level.DEGRADED, "a program could not be switched away (XID 109)"),
    110: (Level.BAD, "a security fault (XID 110); reset the GPU"),
    119: (Level.BAD, "its system processor does not answer (XID 119); reset the GPU"),
    120: (Level.BAD, "its system processor failed (XID 120); reset the GPU"),
    136: (Level.BAD, "its NVLinks could not be trained (XID 136); reset the GPU"),
    140: (Level.BAD, "a memory error that could not be handled (XID 140); reset the GPU"),
    143: (Level.BAD, "it could not be initialised (XID 143); reset the GPU"),
    **dict.fromkeys(range(144, 151), _LINK),
    151: (Level.BAD, "its keys could not be changed (XID 151); restart the machine"),
    155: (Level.BAD, "its NVLinks failed (XID 155); reset the GPU"),
    156: (Level.BAD, "a faulty part waits to be set aside (XID 156); reset the GPU"),
    157: (Level.DEGRADED, "a faulty part could not be set aside (XID 157)"),
    158: (Level.BAD, "it timed out for good (XID 158); reset the GPU"),
}


def judge(gpu: GpuReading) -> GpuHealth:
    """From one reading. XIDs count since the driver was loaded, as the agent keeps them."""
    found = [*_recovery(gpu), *_memory(gpu), *_xids(gpu), *_clocks(gpu), *_use(gpu)]
    bad = tuple(said for level, said in found if level is Level.BAD)
    degraded = tuple(said for level, said in found if level is Level.DEGRADED)
    if bad:
        return GpuHealth(Level.BAD, bad + degraded)
    return GpuHealth(Level.DEGRADED, degraded) if degraded else GpuHealth(Level.OK)


def unhealthy(gpu: GpuReading) -> str:
    """Why it may not be sold, in one line; empty when it may. Lost GPUs are told as lost.

    Stable from beat to beat: it holds no counter that rises, so that it is written seldom.
    """
    if gpu.lost:
        return ""
    return _unsold(
        gpu.recovery_action,
        bool(gpu.rows_failed),
        bool(gpu.ecc_uncorrected),
        gpu.pages_pending,
        gpu.rows_pending,
        (gpu.throttle_reasons or 0) & TOLD_BITS,
        gpu.mig,
        gpu.compute_mode,
        tuple(gpu.xids),
    )


@lru_cache(maxsize=VERDICTS_KEPT)
def _unsold(
    recovery: int | None,
    failed: bool,
    uncorrected: bool,
    pages: bool | None,
    rows: bool | None,
    throttle: int,
    mig: bool | None,
    compute_mode: int | None,
    xids: tuple[int, ...],
) -> str:
    """Each beat asks for each GPU, and nearly all are alike."""
    health = judge(
        GpuReading(
            uuid="",
            name="",
            memory_total_mib=0,
            recovery_action=recovery,
            rows_failed=failed,
            ecc_uncorrected=int(uncorrected),
            pages_pending=pages,
            rows_pending=rows,
            throttle_reasons=throttle,
            mig=mig,
            compute_mode=compute_mode,
            xids=dict.fromkeys(xids, 1),
        )
    )
    if health.level is not Level.BAD:
        return ""
    return "; ".join(health.reasons)[:REASON_CHARACTERS_MAX]


Found = list[tuple[Level, str]]


def _memory(gpu: GpuReading) -> Found:
    """Rows that wait for a reset do not affect new work; a remapping that failed is for good."""
    found: Found = []
    if gpu.rows_failed:
        found.append((Level.BAD, "memory rows could not be remapped; the card is to be replaced"))
    if gpu.pages_pending:
        found.append((Level.DEGRADED, "memory pages wait to be retired at the next driver load"))
    if gpu.rows_pending:
        found.append((Level.DEGRADED, "memory rows wait to be remapped at the next reset"))
    if gpu.ecc_uncorrected:
        level = Level.DEGRADED if _contained(gpu) else Level.BAD
        found.append((level, "uncorrectable memory errors since its driver was loaded"))
    return found


def _contained(gpu: GpuReading) -> bool:
    """Whether its uncorrectable errors ended just the program that met them.

    Cards of compute centres (GA100, GH100, GB100) can contain an error, others of the same
    families (GA10x, AD10x) cannot though they remap rows too: only the driver's word proves it.
    """
    return gpu.recovery_action == 0 or CONTAINED in gpu.xids


def _recovery(gpu: GpuReading) -> Found:
    """Whatever the driver asks for, no new process is to be put on the GPU before it is done."""
    if not gpu.recovery_action:
        return []
    return [(Level.BAD, f"its driver asks to {recovery_word(gpu.recovery_action)}")]


def _xids(gpu: GpuReading) -> Found:
    found = [XIDS[number] for number in sorted(gpu.xids) if number in XIDS]
    return list(dict.fromkeys(found))


def _clocks(gpu: GpuReading) -> Found:
    bits = gpu.throttle_reasons or 0
    found: Found = []
    if bits & HEAT:
        found.append((Level.DEGRADED, "it is slowed down by heat"))
    if bits & HW_POWER_BRAKE:
        found.append((Level.DEGRADED, "it is slowed down by the machine's power supply"))
    return found


def _use(gpu: GpuReading) -> Found:
    """Settings under which a whole GPU cannot be handed out."""
    found: Found = []
    if gpu.mig:
        found.append((Level.BAD, "it is split by MIG, and only whole GPUs are sold; turn MIG off"))
    if gpu.compute_mode == 2:
        found.append((Level.BAD, "its compute mode prohibits work; set it to default"))
    return found
