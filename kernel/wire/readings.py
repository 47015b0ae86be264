"""What an agent reads of its machine: GPUs, host, volumes. Part of the wire of ``agent``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from msgspec import Meta, Struct

Short = Annotated[str, Meta(min_length=1, max_length=200)]
Text = Annotated[str, Meta(max_length=4000)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Percent = Annotated[int, Meta(ge=0, le=100)]
XIDS_MAX = 32  # kinds of XID told of one GPU


class NvmlState(StrEnum):
    OK = "ok"
    ABSENT = "absent"  # no library or no driver
    HUNG = "hung"  # the child did not answer in time
    SIMULATED = "simulated"  # --simulate-gpus: said in every view


class Span(Struct, array_like=True):
    """``n`` readings since the last beat that arrived: their sum, lowest and highest."""

    n: Annotated[int, Meta(ge=1, le=10_000)]
    total: Count
    low: Count
    high: Count


class GpuSpans(Struct, array_like=True):
    """What one GPU did between two beats, so that a peak between them is not missed."""

    utilisation_percent: Span | None = None
    memory_mib: Span | None = None
    power_mw: Span | None = None
    temperature_c: Span | None = None
    sm_clock_mhz: Span | None = None


class GpuReading(Struct, array_like=True):
    """One GPU. Units: MiB, Celsius, milliwatts, millijoules, MHz, percent, KiB/s.

    On the wire an array in this order, 2.5 times shorter than with names; new fields come last.
    None: this card or driver cannot tell. ``docs/telemetry.md`` names each field's source.
    """

    uuid: Short
    name: Short
    memory_total_mib: Count
    memory_used_mib: Count = 0
    memory_reserved_mib: Count | None = None  # by the driver; not in "used" (memory info v2)
    utilisation_percent: Percent | None = None
    memory_utilisation_percent: Percent | None = None  # of the time, memory was read or written
    temperature_c: int | None = None
    memory_temperature_c: int | None = None
    power_mw: Count | None = None
    power_limit_mw: Count | None = None  # enforced now
    power_default_limit_mw: Count | None = None
    energy_mj: Count | None = None  # since the driver was loaded
    sm_clock_mhz: Count | None = None
    sm_clock_max_mhz: Count | None = None
    memory_clock_mhz: Count | None = None
    memory_clock_max_mhz: Count | None = None
    throttle_reasons: Count | None = None  # bits; ``kernel.gpu.throttle_words`` names them
    ecc: bool | None = None
    ecc_corrected: Count | None = None  # since the driver was loaded
    ecc_uncorrected: Count | None = None
    ecc_corrected_ever: Count | None = None
    ecc_uncorrected_ever: Count | None = None
    rows_remapped_corrected: Count | None = None
    rows_remapped_uncorrected: Count | None = None
    rows_pending: bool | None = None  # a remapping waits for the GPU's next reset
    rows_failed: bool | None = None
    pages_retired_corrected: Count | None = None
    pages_retired_uncorrected: Count | None = None
    pages_pending: bool | None = None
    xids: Annotated[dict[int, Count], Meta(max_length=XIDS_MAX)] = {}  # times, by number
    xid_last: Count | None = None
    pcie_generation: Count | None = None
    pcie_generation_max: Count | None = None
    pcie_width: Count | None = None
    pcie_width_max: Count | None = None
    pcie_rx_kib_s: Count | None = None
    pcie_tx_kib_s: Count | None = None
    pcie_replays: Count | None = None
    fan_percent: Annotated[int, Meta(ge=0, le=1000)] | None = None
    persistence: bool | None = None
    compute_mode: Count | None = None  # 0 default, 1 thread, 2 prohibited, 3 one process
    mig: bool | None = None
    mig_devices: Annotated[list[Short], Meta(max_length=16)] = []
    process_count: Count = 0
    foreign_process_count: Count = 0  # of them, not of any work of ours, as far as is known
    our_memory_mib: Count | None = None
    foreign_memory_mib: Count | None = None
    lost: bool = False
    simulated: bool = False
    foreign_use: bool = False  # nothing of ours holds it, and somebody computes or keeps memory
    spans: GpuSpans | None = None
    recovery_action: Count | None = None  # what its driver asks for; ``kernel.gpu`` names them


class HostReading(Struct, omit_defaults=True):
    """The machine under the GPUs. Rates are means since the reading before."""

    hostname: Short
    os: Short
    cpu_count: Count
    cpu_percent: float = 0.0
    memory_total_mib: Count = 0
    memory_used_mib: Count = 0
    disk_total_mib: Count = 0  # where the agent's home is
    disk_free_mib: Count = 0
    load_1m: float = 0.0
    driver_version: str | None = None
    engine: Short = "process"  # "process" or "docker"
    engine_version: str | None = None
    load_5m: float = 0.0
    load_15m: float = 0.0
    swap_total_mib: Count = 0
    swap_used_mib: Count = 0
    docker_disk_total_mib: Count = 0  # where Docker keeps images; 0 = no such place
    docker_disk_free_mib: Count = 0
    net_rx_kib_s: Count = 0
    net_tx_kib_s: Count = 0
    uptime_seconds: Count = 0
    nvml_reason: Annotated[str, Meta(max_length=300)] = ""  # why NVML is not "ok"


class VolumeSeen(Struct, omit_defaults=True):
    volume_id: Short
    used_mib: Count = 0
