"""Pure: is a GPU, by what its driver tells, fit to be sold? The verdict and every reason for it.

What XIDs mean is NVIDIA's word: the Xid Catalog
(https://docs.nvidia.com/deploy/xid-errors/analyzing-xid-catalog.html), and for memory the notes
"GPU Memory Error Management" (https://docs.nvidia.com/deploy/a100-gpu-mem-error-mgmt/) and "Dynamic
Page Retirement" (https://docs.nvidia.com/deploy/dynamic-page-retirement/). XIDs that a tenant's
program can cause by itself (13, 31, 43, 45, 68, 109: those that NVIDIA's own Kubernetes device
plugin passes over) say nothing about the card and are not judged.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kernel.gpu import HW_POWER_BRAKE, HW_THERMAL_SLOWDOWN, SW_THERMAL_SLOWDOWN
from kernel.wire.agent import GpuReading

REASON_CHARACTERS_MAX = 300


class Level(StrEnum):
    OK = "ok"
    DEGRADED = "degraded"  # it works; told to people, still sold
    BAD = "bad"  # not offered; a lease that runs goes on


@dataclass(frozen=True)
class GpuHealth:
    """``reasons`` are sentences, the worst first; none when it is well."""

    level: Level
    reasons: tuple[str, ...] = ()


# Number -> how bad, what it means, what the catalog's action asks of the provider.
XIDS: Final[dict[int, tuple[Level, str]]] = {
    48: (Level.BAD, "an uncorrectable memory error (XID 48); reset the GPU"),
    62: (Level.BAD, "its controller halted (XID 62); reset the GPU"),
    63: (Level.DEGRADED, "a faulty memory row or page was set aside (XID 63)"),
    64: (Level.BAD, "a faulty memory row or page could not be set aside (XID 64); reset the GPU"),
    74: (Level.DEGRADED, "an NVLink error (XID 74); check the link"),
    79: (Level.BAD, "it fell off the bus (XID 79); restart the machine"),
    92: (Level.DEGRADED, "many corrected memory errors (XID 92)"),
    94: (Level.DEGRADED, "a contained memory error that ended one program (XID 94)"),
    95: (Level.BAD, "an uncontained memory error (XID 95); reset the GPU"),
    119: (Level.BAD, "its system processor does not answer (XID 119); reset the GPU"),
    120: (Level.BAD, "its system processor failed (XID 120); reset the GPU"),
}


def judge(gpu: GpuReading) -> GpuHealth:
    """From one reading. XIDs count since the driver was loaded, as the agent keeps them."""
    found = [*_memory(gpu), *_xids(gpu), *_clocks(gpu), *_use(gpu)]
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
    health = judge(gpu)
    if health.level is not Level.BAD:
        return ""
    return "; ".join(health.reasons)[:REASON_CHARACTERS_MAX]


Found = list[tuple[Level, str]]


def _memory(gpu: GpuReading) -> Found:
    """A pending remapping does not affect new work, says NVML's own documentation of it."""
    found: Found = []
    if gpu.rows_failed:
        found.append((Level.BAD, "memory rows could not be remapped; the card is to be replaced"))
    if gpu.pages_pending:
        found.append((Level.DEGRADED, "memory pages wait to be retired at the next driver load"))
    if gpu.rows_pending:
        found.append((Level.DEGRADED, "memory rows wait to be remapped at the next reset"))
    if gpu.ecc_uncorrected:
        # With error containment (rows are remapped) only the program that met it ended.
        level = Level.BAD if gpu.rows_pending is None else Level.DEGRADED
        found.append((level, "uncorrectable memory errors since its driver was loaded"))
    return found


def _xids(gpu: GpuReading) -> Found:
    return [XIDS[number] for number in sorted(gpu.xids) if number in XIDS]


def _clocks(gpu: GpuReading) -> Found:
    bits = gpu.throttle_reasons or 0
    found: Found = []
    if bits & (SW_THERMAL_SLOWDOWN | HW_THERMAL_SLOWDOWN):
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
