"""Bodies of the fleet's routes for people."""

from __future__ import annotations

from pydantic import BaseModel


class GpuView(BaseModel):
    """Readings are null when the node was not heard lately, or its driver cannot tell.

    ``simulated``: it is not real. Every field with its source: docs/telemetry.md.
    """

    uuid: str
    name: str
    memory_total_mib: int
    free: bool
    simulated: bool
    lost: bool = False
    health: str = "ok"  # ok, degraded (still sold) or bad (not sold)
    health_reasons: list[str] = []
    memory_used_mib: int | None = None
    memory_reserved_mib: int | None = None
    utilisation_percent: int | None = None
    memory_utilisation_percent: int | None = None
    temperature_c: int | None = None
    memory_temperature_c: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    power_default_limit_watts: float | None = None
    energy_joules: float | None = None
    sm_clock_mhz: int | None = None
    sm_clock_max_mhz: int | None = None
    memory_clock_mhz: int | None = None
    memory_clock_max_mhz: int | None = None
    throttle_reasons: int | None = None
    throttled_by: list[str] = []
    ecc: bool | None = None
    ecc_corrected: int | None = None
    ecc_uncorrected: int | None = None
    ecc_corrected_ever: int | None = None
    ecc_uncorrected_ever: int | None = None
    rows_remapped_corrected: int | None = None
    rows_remapped_uncorrected: int | None = None
    rows_pending: bool | None = None
    rows_failed: bool | None = None
    pages_retired_corrected: int | None = None
    pages_retired_uncorrected: int | None = None
    pages_pending: bool | None = None
    recovery_action: str | None = None  # what its driver asks for, such as "reset the GPU"
    xids: dict[int, int] = {}  # times since the driver was loaded, by number
    xid_last: int | None = None
    pcie_generation: int | None = None
    pcie_generation_max: int | None = None
    pcie_width: int | None = None
    pcie_width_max: int | None = None
    pcie_rx_kib_s: int | None = None
    pcie_tx_kib_s: int | None = None
    pcie_replays: int | None = None
    fan_percent: int | None = None
    persistence: bool | None = None
    compute_mode: str | None = None
    mig: bool | None = None
    mig_devices: list[str] = []
    process_count: int | None = None
    foreign_process_count: int | None = None
    our_memory_mib: int | None = None
    foreign_memory_mib: int | None = None
    foreign_use: bool = False  # somebody else uses it: not free, and not sold


class HostView(BaseModel):
    """The machine. Rates are means over the time since the beat before."""

    os: str
    cpu_count: int
    cpu_percent: float
    load_1m: float
    load_5m: float
    load_15m: float
    memory_total_mib: int
    memory_used_mib: int
    swap_total_mib: int
    swap_used_mib: int
    disk_total_mib: int
    disk_free_mib: int
    docker_disk_total_mib: int
    docker_disk_free_mib: int
    net_rx_kib_s: int
    net_tx_kib_s: int
    uptime_seconds: int
    driver_version: str | None
    engine: str
    engine_version: str | None
    nvml_reason: str


class NodeView(BaseModel):
    """A node as it stands. ``age_seconds``: since it was last heard; null: never."""

    node_id: str
    name: str
    state: str  # online, silent, quarantined or never_heard
    state_reason: str
    yours: bool
    listed: bool
    simulated: bool
    region: str
    price_usd_per_gpu_hour: str
    price_nano_per_gpu_hour: int
    gpus_total: int
    gpus_free: int
    gpus: list[GpuView]
    age_seconds: float | None
    nvml: str
    engine: str
    agent_version: str
    agent_outdated: bool = False  # it is of another file than the one this brain hands out
    host: HostView | None = None
    leases: int


class RevokedView(BaseModel):
    node_id: str
    leases_ending: int
