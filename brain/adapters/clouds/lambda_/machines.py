"""Lambda's instances as machines. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from brain.adapters.clouds.fields import hourly_nano, text
from brain.adapters.clouds.lambda_.offers import gpu_of, gpus_of, price_of
from brain.clouds import Endpoint, Machine, MachineState

GPUS_MAX = 1024
STATES = {
    "booting": MachineState.STARTING,
    "active": MachineState.RUNNING,
    "unhealthy": MachineState.UNHEALTHY,
    "preempted": MachineState.INTERRUPTED,
    "terminating": MachineState.TERMINATING,
    "terminated": MachineState.TERMINATED,
}


def machine_of(row: Mapping[str, object]) -> Machine | None:
    """One instance; ``None`` for a row without an id. ``name`` is absent where it has none."""
    instance = text(row, "id")
    if not instance:
        return None
    kind, region = row.get("instance_type"), row.get("region")
    kind = kind if isinstance(kind, Mapping) else {}
    said = text(row, "status")
    gpus = gpus_of(kind)
    return Machine(
        machine_id=instance,
        tag=text(row, "name"),
        state=STATES.get(said, MachineState.UNKNOWN),
        said=said,
        cost_nano_hour=hourly_nano(price_of(kind)),
        gpu_name=gpu_of(kind).name if gpus else "",
        gpus=min(max(gpus, 0), GPUS_MAX),
        region=text(region, "name") if isinstance(region, Mapping) else "",
    )


def endpoints_of(row: Mapping[str, object]) -> list[Endpoint]:
    """An address is there only once the instance runs."""
    address = text(row, "ip")
    return [Endpoint(22, address, 22, "ssh", "ubuntu")] if address else []
