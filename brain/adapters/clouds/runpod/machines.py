"""RunPod's pods as machines, from the rows of both of its interfaces. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from brain.adapters.clouds.fields import amount, hourly_nano, text, whole
from brain.adapters.clouds.gpus import gpu
from brain.adapters.clouds.runpod.offers import STORAGE_NANO_GIB_HOUR
from brain.clouds import Endpoint, Machine, MachineState
from kernel.clock import NS

REST_STATES = {
    "PROVISIONING": MachineState.PROVISIONING,
    "STARTING": MachineState.STARTING,
    "RUNNING": MachineState.RUNNING,
    "EXITED": MachineState.STOPPED,
    "ERROR": MachineState.FAILED,
    "TERMINATED": MachineState.TERMINATED,
}
# GraphQL tells what a pod is meant to be; whether it is, its runtime tells.
DESIRED_STATES = {
    "CREATED": MachineState.PROVISIONING,
    "RESTARTING": MachineState.STARTING,
    "EXITED": MachineState.STOPPED,
    "PAUSED": MachineState.STOPPED,
    "DEAD": MachineState.FAILED,
    "TERMINATED": MachineState.TERMINATED,
}
PROXY_HOST = "proxy.runpod.net"
HTTPS_PORT = 443
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def rest_machine(row: object) -> Machine | None:
    """One pod of REST v2; None for a row that is none."""
    if not isinstance(row, Mapping) or not text(row, "id"):
        return None
    card = row.get("gpu")
    card = card if isinstance(card, Mapping) else {}
    said = text(row, "status").upper()
    return Machine(
        machine_id=text(row, "id"),
        tag=text(row, "name"),
        state=REST_STATES.get(said, MachineState.UNKNOWN),
        said=said,
        cost_nano_hour=_cost(row, "cost", "disk"),
        created_ns=wall_ns(text(row, "createdAt")),
        gpu_name=gpu(text(card, "id")).name if text(card, "id") else "",
        gpus=whole(card, "count") or 0,
        region=text(row, "dataCenterId"),
    )


def graphql_machine(row: object) -> Machine | None:
    """One pod of GraphQL; None for a row that is none."""
    if not isinstance(row, Mapping) or not text(row, "id"):
        return None
    host = row.get("machine")
    card = text(host, "gpuDisplayName") if isinstance(host, Mapping) else ""
    said = text(row, "desiredStatus").upper()
    return Machine(
        machine_id=text(row, "id"),
        tag=text(row, "name"),
        state=_running(row) if said == "RUNNING" else _desired(said),
        said=said,
        cost_nano_hour=_cost(row, "costPerHr", "containerDiskInGb"),
        gpu_name=gpu(card).name if card else "",
        gpus=whole(row, "gpuCount") or 0,
    )


def rest_endpoints(row: Mapping[str, object]) -> list[Endpoint]:
    found = _ports(row, "private", "public", "ip")
    ssh = row.get("ssh")
    proxy = ssh.get("proxy") if isinstance(ssh, Mapping) else None
    if isinstance(proxy, Mapping) and not any(one.kind == "ssh" for one in found):
        host, port, user = text(proxy, "host"), whole(proxy, "port"), text(proxy, "username")
        if host and port:
            found.append(Endpoint(22, host, port, "ssh", user, shared=True))
    return found


def graphql_endpoints(row: Mapping[str, object]) -> list[Endpoint]:
    found = _ports(row, "privatePort", "publicPort", "ip")
    host = row.get("machine")
    user = text(host, "podHostId") if isinstance(host, Mapping) else ""
    if user and not any(one.kind == "ssh" for one in found):
        found.append(Endpoint(22, "ssh.runpod.io", 22, "ssh", user, shared=True))
    return found


def _ports(row: Mapping[str, object], inside: str, outside: str, address: str) -> list[Endpoint]:
    """HTTP ports are reached through the cloud's proxy, others at the host's own address."""
    runtime = row.get("runtime")
    told = runtime.get("ports") if isinstance(runtime, Mapping) else None
    found: list[Endpoint] = []
    for one in told if isinstance(told, list) else []:
        if not isinstance(one, Mapping):
            continue
        port, public, host = whole(one, inside), whole(one, outside), text(one, address)
        if port and text(one, "type") == "http":
            name = f"{text(row, 'id')}-{port}.{PROXY_HOST}"
            found.append(Endpoint(port, name, HTTPS_PORT, "http"))
        elif port and public and host:
            kind = "ssh" if port == 22 else "tcp"
            found.append(Endpoint(port, host, public, kind, "root" if port == 22 else ""))
    return found


def _running(row: Mapping[str, object]) -> MachineState:
    if isinstance(row.get("runtime"), Mapping):
        return MachineState.RUNNING
    return MachineState.STARTING if text(row, "machineId") else MachineState.PROVISIONING


def _desired(said: str) -> MachineState:
    return DESIRED_STATES.get(said, MachineState.UNKNOWN)


def _cost(row: Mapping[str, object], name: str, disk: str) -> int | None:
    """With its disk, which is billed beside what it tells."""
    told, gib = hourly_nano(amount(row, name)), whole(row, disk) or 0
    return None if told is None else told + max(0, gib) * STORAGE_NANO_GIB_HOUR


def wall_ns(said: str) -> int | None:
    """Nanoseconds of an RFC 3339 time; the cloud's clock may be off, so it is only shown."""
    try:
        when = datetime.fromisoformat(said)
    except ValueError:
        return None
    since = (when if when.tzinfo else when.replace(tzinfo=UTC)) - EPOCH
    return (since.days * 86_400 + since.seconds) * NS + since.microseconds * 1000
