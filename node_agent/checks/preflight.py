"""Pure: what was found of this machine -> named points with severities, for the provider to read.

FATAL points say that nothing can be served from here; WARN points that it serves worse than it
should; a clock that is off is told and never held against anybody.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from kernel.gpu import recovery_word
from kernel.wire.agent import GpuReading, HostReading, NvmlState, PreflightPoint, Severity

DISK_MIB_FATAL, DISK_MIB_WARN = 10 * 1024, 50 * 1024
DISK_MIB_S_WARN = 100
MEMORY_MIB_WARN = 8 * 1024
CPU_WARN = 4
KERNEL_WARN = (5, 10)
DOCKER_WARN = (20, 10)
CLOCK_SECONDS_INFO = 2.0
KNOWN_SYSTEMS = ("Debian GNU/Linux 12", "Ubuntu 22.04", "Ubuntu 24.04")


@dataclass(frozen=True)
class Reached:
    """One address that was tried. ``failure``: why it was not reached; empty: it was."""

    what: str
    failure: str = ""


@dataclass(frozen=True)
class Hardened:
    """One point of a tenant's isolation, as the engine tells it."""

    name: str
    holds: bool
    detail: str = ""


@dataclass(frozen=True)
class Facts:
    """What was looked at. None and empty: not known on this machine."""

    host: HostReading
    nvml: NvmlState
    gpus: Sequence[GpuReading]
    kernel: str = ""
    cgroup: int | None = None
    runtimes: Sequence[str] | None = None  # of Docker
    toolkit: bool | None = None  # NVIDIA's container toolkit
    disk_mib_s: float | None = None
    clock_offset_seconds: float | None = None  # ours less the brain's
    reached: Sequence[Reached] = ()
    inbound: Sequence[str] = ()  # addresses beyond loopback on which the agent listens
    hardening: Sequence[Hardened] | None = None


def points(facts: Facts) -> list[PreflightPoint]:
    """Every point, in a fixed order; the same facts give the same points."""
    return [
        *_system(facts),
        *_engine(facts),
        *_gpus(facts),
        *_size(facts),
        *_network(facts),
        *_hardening(facts),
    ]


def _point(name: str, severity: Severity, said: str) -> PreflightPoint:
    return PreflightPoint(name=name[:60], severity=severity, said=said[:300])


def _graded(name: str, said: str, *, fatal: bool = False, warn: bool = False) -> PreflightPoint:
    severity = Severity.FATAL if fatal else Severity.WARN if warn else Severity.OK
    return _point(name, severity, said)


def _system(facts: Facts) -> Iterable[PreflightPoint]:
    known = facts.host.os.startswith(KNOWN_SYSTEMS)
    yield _point("os", Severity.OK if known else Severity.INFO, facts.host.os)
    version = _version(facts.kernel)
    yield _graded("kernel", facts.kernel or "not known", warn=(0, 0) < version < KERNEL_WARN)
    if facts.cgroup is not None:
        yield _graded("cgroup", f"version {facts.cgroup}", warn=facts.cgroup < 2)
    offset = facts.clock_offset_seconds
    if offset is not None:
        off = abs(offset) >= CLOCK_SECONDS_INFO
        # Rounded, so that a drift of moments is no news.
        said = f"off by {offset:+.0f} s; no time of ours is relied on" if off else "in step"
        yield _point("clock", Severity.INFO if off else Severity.OK, said)


def _engine(facts: Facts) -> Iterable[PreflightPoint]:
    host = facts.host
    if host.engine != "docker":
        yield _point("engine", Severity.INFO, "processes: only what runs without a container")
        return
    if host.engine_version is None:
        yield _point("engine", Severity.FATAL, "Docker does not answer")
        return
    old = _version(host.engine_version) < DOCKER_WARN
    yield _graded("engine", f"Docker {host.engine_version}", warn=old)
    if facts.runtimes is not None:
        yield _point("runtimes", Severity.OK, ", ".join(sorted(facts.runtimes)))
    real = [gpu for gpu in facts.gpus if not gpu.simulated]
    if facts.toolkit is not None and real:
        said = "NVIDIA's container toolkit " + ("is here" if facts.toolkit else "is missing")
        yield _graded("toolkit", said, fatal=not facts.toolkit)


def _gpus(facts: Facts) -> Iterable[PreflightPoint]:
    if facts.nvml is NvmlState.HUNG:
        yield _point("gpus", Severity.FATAL, "the driver does not answer")
        return
    if not facts.gpus:
        reason = facts.host.nvml_reason or "NVML tells of none"
        yield _point("gpus", Severity.FATAL, f"no GPU: {reason}")
        return
    kinds = sorted({f"{gpu.name}, {gpu.memory_total_mib} MiB" for gpu in facts.gpus})
    count = len(facts.gpus)
    said = f"{count} × {kinds[0]}" if len(kinds) == 1 else f"{count}, mixed: " + "; ".join(kinds)
    yield _graded("gpus", said, warn=len(kinds) > 1)
    if facts.host.driver_version:
        yield _point("driver", Severity.OK, facts.host.driver_version)
    for place, gpu in enumerate(facts.gpus):
        for word in _troubles(gpu):
            yield _point(f"gpu {place}", Severity.WARN, word)


def _troubles(gpu: GpuReading) -> Iterable[str]:
    if gpu.lost:
        yield "it is lost"
    width, widest = gpu.pcie_width, gpu.pcie_width_max
    if width and widest and width * 2 < widest:
        yield f"PCIe x{width} of x{widest}"
    if gpu.persistence is False:
        yield "persistence mode is off: its first use takes seconds"
    if gpu.rows_pending or gpu.pages_pending:
        yield "memory waits for a reset to be remapped"
    if gpu.recovery_action:
        yield f"its driver asks to {recovery_word(gpu.recovery_action)}"
    if gpu.rows_failed:
        yield "its memory could not be remapped: replace it"
    if gpu.mig:
        yield f"MIG is on: {len(gpu.mig_devices)} slices"
    limit, usual = gpu.power_limit_mw, gpu.power_default_limit_mw
    if limit and usual and limit * 10 < usual * 9:
        yield f"power is limited to {limit // 1000} of {usual // 1000} W"


def _size(facts: Facts) -> Iterable[PreflightPoint]:
    host = facts.host
    free = host.docker_disk_free_mib or host.disk_free_mib
    # In steps, so that each image pulled is not told anew.
    shown = f"{free // 10_240 * 10} GiB free" if free >= 10_240 else f"{free} MiB free"
    yield _graded("disk", shown, fatal=free < DISK_MIB_FATAL, warn=free < DISK_MIB_WARN)
    if facts.disk_mib_s is not None:
        slow = facts.disk_mib_s < DISK_MIB_S_WARN
        said = f"less than {DISK_MIB_S_WARN} MiB/s" if slow else f"{DISK_MIB_S_WARN} MiB/s or more"
        yield _graded("disk speed", f"writes {said}", warn=slow)
    yield _graded(
        "memory",
        f"{host.memory_total_mib // 1024} GiB",
        warn=host.memory_total_mib < MEMORY_MIB_WARN,
    )
    yield _graded("cpus", str(host.cpu_count), warn=host.cpu_count < CPU_WARN)


def _network(facts: Facts) -> Iterable[PreflightPoint]:
    for one in facts.reached:
        yield _graded(f"reach {one.what}", one.failure or "reached", warn=bool(one.failure))
    said = "the agent listens on " + ", ".join(facts.inbound)
    yield _graded("inbound", said if facts.inbound else "no port is open", warn=bool(facts.inbound))


def _hardening(facts: Facts) -> Iterable[PreflightPoint]:
    if facts.hardening is None:
        yield _point("isolation", Severity.INFO, "not known")
        return
    for one in facts.hardening:
        severity = Severity.OK if one.holds else Severity.WARN
        yield _point(f"isolation {one.name}", severity, one.detail)


def _version(text: str) -> tuple[int, int]:
    """Its first two numbers; (0, 0) when there are none."""
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else (0, 0)
