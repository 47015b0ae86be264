"""How a node's newest reading is shown to people."""

from __future__ import annotations

from collections.abc import Mapping

from brain.fleet.gpu_health import judge
from brain.fleet.models import NodeGpu
from brain.fleet.schemas import GpuView, HostView
from brain.fleet.telemetry import LastBeat
from kernel.gpu import compute_mode_word, recovery_word, throttle_words
from kernel.wire.agent import GpuReading

# Told to people in other units or words, or not at all.
_WORDED = {"compute_mode", "recovery_action"}
_OTHERWISE = {"uuid", "name", "memory_total_mib", "simulated", "free"} | _WORDED
_SAME = [
    name
    for name in GpuView.model_fields
    if name in GpuReading.__struct_fields__ and name not in _OTHERWISE
]


def show_gpu(row: NodeGpu, readings: Mapping[str, GpuReading], *, held: bool) -> GpuView:
    """The row, with the newest reading where there is one."""
    view = GpuView(
        uuid=row.gpu_uuid,
        name=row.name,
        memory_total_mib=row.memory_mib,
        simulated=row.simulated,
        lost=row.lost,
        free=not (held or row.lost or row.foreign_use or row.unhealthy),
    )
    if row.unhealthy:
        view.health, view.health_reasons = "bad", row.unhealthy.split("; ")
    now = readings.get(row.gpu_uuid)
    if now is None:
        return view
    for name in _SAME:
        setattr(view, name, getattr(now, name))
    health = judge(now)
    view.health, view.health_reasons = health.level.value, list(health.reasons)
    view.free = view.free and not now.lost and not now.foreign_use and health.level != "bad"
    view.power_watts = _thousandth(now.power_mw)
    view.power_limit_watts = _thousandth(now.power_limit_mw)
    view.power_default_limit_watts = _thousandth(now.power_default_limit_mw)
    view.energy_joules = _thousandth(now.energy_mj)
    view.throttled_by = throttle_words(now.throttle_reasons)
    view.compute_mode = compute_mode_word(now.compute_mode)
    view.recovery_action = recovery_word(now.recovery_action)
    return view


def show_host(last: LastBeat | None) -> HostView | None:
    if last is None:
        return None
    host = last.beat.host
    return HostView(**{name: getattr(host, name) for name in HostView.model_fields})


def _thousandth(value: int | None) -> float | None:
    return None if value is None else value / 1000
