"""Pure: how a lease becomes a hardened container, and how a container is read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kernel.wire.agent import LaunchSpec
from node_agent.engine import Order
from node_agent.records import Phase, Work

INSTALLATION = "ganglion.installation"
LEASE = "ganglion.lease"
EPOCH = "ganglion.epoch"
GPUS = "ganglion.gpus"
PORT = "ganglion.port"
TTL = "ganglion.ttl"
PIDS_MAX = 4096
LOG_OPTIONS = {"max-size": "16m", "max-file": "2"}
RUNNING_STATES = ("running", "paused", "restarting")
KILLED = 128 + 9
MIB = 1 << 20


def container_name(lease_id: str) -> str:
    return f"ganglion-{lease_id}"


def labels(order: Order) -> dict[str, str]:
    """All that an agent which lost its memory must know."""
    lease = order.lease
    return {
        INSTALLATION: order.installation_id,
        LEASE: lease.lease_id,
        EPOCH: str(lease.epoch),
        GPUS: ",".join(lease.gpu_uuids),
        PORT: str(lease.launch.port),
        TTL: str(lease.ttl_seconds),
    }


def arguments(launch: LaunchSpec) -> list[str]:
    return [argument.replace("{port}", str(launch.port)) for argument in launch.arguments]


def host_options(order: Order, runtime: str | None) -> dict[str, Any]:
    """A tenant's container: no capability, no privilege, no socket, no network of the host.

    Its port is published on loopback only; it is reached through the gateway's links alone.
    """
    launch = order.lease.launch
    options: dict[str, Any] = {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "privileged": False,
        "network_mode": "bridge",
        "ipc_mode": "private",
        "pids_limit": PIDS_MAX,
        "shm_size": launch.shm_mib * MIB,
        "port_bindings": {launch.port: ("127.0.0.1",)},
        "restart_policy": {"Name": "no"},
        "log_config": {"Type": "json-file", "Config": LOG_OPTIONS},
    }
    if launch.memory_mib:
        options["mem_limit"] = launch.memory_mib * MIB
        options["memswap_limit"] = launch.memory_mib * MIB  # the same: no swap beside it
    if runtime:
        options["runtime"] = runtime
    return options


def wanted_devices(order: Order) -> list[str]:
    """GPUs by UUID, never by index or "all"; simulated ones are no device."""
    return [] if order.simulated else list(order.lease.gpu_uuids)


def work_of(container: Mapping[str, Any], exit_reason: str) -> Work | None:
    """A container from a listing, or None when its labels are not those of a lease."""
    marks = container.get("Labels") or {}
    try:
        port, epoch = int(marks[PORT]), int(marks[EPOCH])
        phase = phase_of(str(container["State"]))
        return Work(
            lease_id=marks[LEASE],
            epoch=epoch,
            installation_id=marks[INSTALLATION],
            gpu_uuids=frozenset(uuid for uuid in marks[GPUS].split(",") if uuid),
            phase=phase,
            ref=str(container["Id"]),
            port=published_port(container.get("Ports") or (), port),
            ttl_seconds=int(marks[TTL]),
            exit_reason="" if phase is Phase.RUNNING else exit_reason,
        )
    except (KeyError, ValueError):
        return None


def phase_of(state: str) -> Phase:
    if state in RUNNING_STATES:
        return Phase.RUNNING
    return Phase.CREATED if state == "created" else Phase.EXITED


def published_port(ports: Sequence[Mapping[str, Any]], private: int) -> int:
    for entry in ports:
        if entry.get("PrivatePort") == private and entry.get("PublicPort"):
            return int(entry["PublicPort"])
    return 0


def exit_reason(state: Mapping[str, Any], memory_mib: int) -> str:
    """Why a container is not running, from its inspected ``State``."""
    if state.get("OOMKilled"):
        return f"The container was killed for using more than its {memory_mib} MiB of memory."
    if state.get("Status") == "created":
        return f"The container was not started. {state.get('Error', '')}".strip()
    if state.get("ExitCode") == KILLED and memory_mib:
        # Docker misses the kernel's word about memory when the exit overtakes it.
        return f"The container was killed; its memory limit is {memory_mib} MiB."
    reason = f"The container ended with exit code {state.get('ExitCode')}."
    return f"{reason} {state['Error']}" if state.get("Error") else reason


class PullCount:
    """Sums the layers of a pull as its progress lines come in."""

    def __init__(self) -> None:
        self._done: dict[str, int] = {}
        self._total: dict[str, int] = {}

    def take(self, line: Mapping[str, Any]) -> tuple[int, int]:
        """MiB done and known of; the total grows while layers are still being found."""
        layer, detail = line.get("id"), line.get("progressDetail") or {}
        if layer and line.get("status") == "Downloading" and detail.get("total"):
            self._total[layer] = int(detail["total"])
            self._done[layer] = int(detail.get("current", 0))
        elif layer and line.get("status") in ("Download complete", "Pull complete"):
            self._done[layer] = self._total.get(layer, 0)
        return sum(self._done.values()) // MIB, sum(self._total.values()) // MIB
