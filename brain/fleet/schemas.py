"""Bodies of the fleet's routes for people."""

from __future__ import annotations

from pydantic import BaseModel


class GpuView(BaseModel):
    """Readings are null when the node was not heard lately. ``simulated``: it is not real."""

    uuid: str
    name: str
    memory_total_mib: int
    free: bool
    simulated: bool
    memory_used_mib: int | None = None
    utilisation_percent: int | None = None
    temperature_c: int | None = None
    power_watts: float | None = None
    power_limit_watts: float | None = None
    sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    throttle_reasons: int | None = None
    ecc_uncorrected: int | None = None
    process_count: int | None = None
    foreign_use: bool = False  # somebody else uses it: not free, and not sold


class HostView(BaseModel):
    os: str
    cpu_count: int
    cpu_percent: float
    load_1m: float
    memory_total_mib: int
    memory_used_mib: int
    disk_total_mib: int
    disk_free_mib: int
    driver_version: str | None
    engine: str
    engine_version: str | None


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
    host: HostView | None = None
    leases: int


class RevokedView(BaseModel):
    node_id: str
    leases_ending: int
