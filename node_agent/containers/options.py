"""Pure: how a lease becomes a hardened container, and how a container is read back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import PurePosixPath
from typing import Any

from docker.types import Mount

from kernel.wire.agent import LaunchSpec
from node_agent.containers.states import Stage, stage_of
from node_agent.engine import Order, StartRefused
from node_agent.records import Phase, Work

INSTALLATION = "ganglion.installation"
LEASE = "ganglion.lease"
EPOCH = "ganglion.epoch"
GPUS = "ganglion.gpus"
PORT = "ganglion.port"
TTL = "ganglion.ttl"
VOLUMES = "ganglion.volumes"
SHELL = "ganglion.shell"
POD = "pod"  # LaunchSpec.engine of a renter's own image
PIDS_MAX = 4096
LOG_OPTIONS = {"max-size": "16m", "max-file": "2"}
KILLED = 128 + 9
MIB = 1 << 20
OOM_SCORE = 500  # when the host runs out of memory, tenants end before its own daemons
GPUS_VISIBLE = "NVIDIA_VISIBLE_DEVICES"
NO_GPU = "void"
# What package managers and common entry points need: to make files of other users and to become
# one. None of it reaches beyond the container's own files and ports.
POD_CAPABILITIES = ("CHOWN", "DAC_OVERRIDE", "FOWNER", "NET_BIND_SERVICE", "SETGID", "SETUID")
SYSTEM_FOLDERS = ("/proc", "/sys", "/dev")


@dataclass(frozen=True)
class Rules:
    """What the host's owner decided about tenants' containers."""

    runtime: str | None = None  # such as runsc; None = chosen by what Docker has
    pod_capabilities: tuple[str, ...] = POD_CAPABILITIES
    read_only_workers: bool = False
    dns: tuple[str, ...] = ()  # empty = the host's own
    worker_folders: tuple[str, ...] = ()  # development: of the host, seen by models' containers
    models: str = ""  # one of these, that holds models by their names


@dataclass(frozen=True)
class Place:
    """What was made for one container before it: its network and its volumes' folders."""

    network: str
    folders: Mapping[str, str]  # volume id -> folder on the host
    disk_quota: bool = False  # the storage driver keeps a size for the writable layer


def container_name(lease_id: str) -> str:
    return f"ganglion-{lease_id}"


def labels(order: Order) -> dict[str, str]:
    """All that an agent which lost its memory must know; no secret is among it."""
    lease = order.lease
    return {
        INSTALLATION: order.installation_id,
        LEASE: lease.lease_id,
        EPOCH: str(lease.epoch),
        GPUS: ",".join(lease.gpu_uuids),
        PORT: str(lease.launch.port),
        TTL: str(lease.ttl_seconds),
        VOLUMES: ",".join(mount.volume_id for mount in lease.launch.volumes),
        SHELL: "1" if lease.launch.shell else "",
    }


def arguments(launch: LaunchSpec, rules: Rules) -> list[str]:
    """A model's arguments with its port and the place of its files filled in; a renter's are left
    as they were written."""
    if launch.engine == POD:
        return list(launch.arguments)
    fills = {"{port}": str(launch.port)}
    if rules.worker_folders:
        fills["{model_path}"] = str(PurePosixPath(rules.models) / _model_name(launch))
    return [_filled(argument, fills) for argument in launch.arguments]


def _filled(text: str, fills: Mapping[str, str]) -> str:
    for name, value in fills.items():
        text = text.replace(name, value)
    return text


def _model_name(launch: LaunchSpec) -> str:
    """The last part of the name that it serves, by which its files lie in the models' folder."""
    named = dict(pairwise(launch.arguments)).get("--served-model-name", "")
    return PurePosixPath(named).name or "none"


def environment(order: Order) -> dict[str, str]:
    """The launch's, then its secrets, then what nobody may choose: the GPUs it sees.

    An image or a renter that says "all" would get every GPU of a host whose default runtime is
    NVIDIA's.
    """
    secret = order.secrets.environment if order.secrets is not None else {}
    gpus = ",".join(wanted_devices(order)) or NO_GPU
    return {**order.lease.launch.environment, **secret, GPUS_VISIBLE: gpus}


def inner_ports(launch: LaunchSpec) -> list[int]:
    return sorted({port for port in (launch.port, *launch.ports) if port})


def host_options(order: Order, rules: Rules, place: Place, runtime: str | None) -> dict[str, Any]:
    """A tenant's container: no privilege, no socket, nothing of the host's network.

    Its ports are published on loopback only; they are reached through the gateway's links alone.
    """
    launch = order.lease.launch
    pod = launch.engine == POD
    options: dict[str, Any] = {
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
        "privileged": False,
        "network_mode": place.network,
        "ipc_mode": "private",
        "pids_limit": PIDS_MAX,
        "shm_size": launch.shm_mib * MIB,
        "oom_score_adj": OOM_SCORE,
        "port_bindings": dict.fromkeys(inner_ports(launch), ("127.0.0.1",)),
        "restart_policy": {"Name": "no"},
        "log_config": {"Type": "json-file", "Config": LOG_OPTIONS},
    }
    if pod and rules.pod_capabilities:
        options["cap_add"] = list(rules.pod_capabilities)
    if rules.read_only_workers and not pod:
        options["read_only"] = True
        options["tmpfs"] = {"/tmp": "rw,nosuid,nodev,exec,mode=1777"}  # noqa: S108  in the container
    if launch.memory_mib:
        options["mem_limit"] = launch.memory_mib * MIB
        options["memswap_limit"] = launch.memory_mib * MIB  # the same: no swap beside it
    if launch.disk_mib and place.disk_quota:
        options["storage_opt"] = {"size": f"{launch.disk_mib}M"}
    if launch.volumes:
        options["mounts"] = mounts(launch, place.folders)
    if rules.worker_folders and not pod:
        options["mounts"] = [
            Mount(folder, folder, type="bind", read_only=True) for folder in rules.worker_folders
        ]
    if rules.dns:
        options["dns"] = list(rules.dns)
    if runtime:
        options["runtime"] = runtime
    return options


def mounts(launch: LaunchSpec, folders: Mapping[str, str]) -> list[Mount]:
    """The volumes at their paths; ``StartRefused`` for a path that no volume may have."""
    made = []
    for volume in launch.volumes:
        path = PurePosixPath(volume.path)
        inside_system = any(path.is_relative_to(folder) for folder in SYSTEM_FOLDERS)
        if not path.is_absolute() or ".." in path.parts or str(path) == "/" or inside_system:
            raise StartRefused(f"A volume cannot be mounted at {volume.path}.")
        source = folders[volume.volume_id]
        made.append(Mount(str(path), source, type="bind"))
    return made


def wanted_devices(order: Order) -> list[str]:
    """GPUs by UUID, never by index or "all"; simulated ones are no device."""
    return [] if order.simulated else list(order.lease.gpu_uuids)


def work_of(container: Mapping[str, Any], exit_reason: str) -> Work | None:
    """A container from a listing, or None when its labels are not those of a lease."""
    marks = container.get("Labels") or {}
    try:
        port, epoch = int(marks[PORT]), int(marks[EPOCH])
        phase = phase_of(str(container["State"]))
        ports = published_ports(container.get("Ports") or ())
        return Work(
            lease_id=marks[LEASE],
            epoch=epoch,
            installation_id=marks[INSTALLATION],
            gpu_uuids=_listed(marks[GPUS]),
            phase=phase,
            ref=str(container["Id"]),
            port=ports.get(port, 0),
            ttl_seconds=int(marks[TTL]),
            exit_reason="" if phase is Phase.RUNNING else exit_reason,
            ports=ports,
            volumes=_listed(marks.get(VOLUMES, "")),
            shell=bool(marks.get(SHELL)),
        )
    except (KeyError, ValueError):
        return None


def phase_of(state: str) -> Phase:
    stage = stage_of(state)
    if stage is Stage.RUNNING:
        return Phase.RUNNING
    return Phase.CREATED if stage is Stage.CREATED else Phase.EXITED


def published_ports(ports: Sequence[Mapping[str, Any]]) -> dict[int, int]:
    """Ports inside the container -> ports of this host's loopback."""
    return {
        int(entry["PrivatePort"]): int(entry["PublicPort"])
        for entry in ports
        if entry.get("PublicPort")
    }


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


def _listed(text: str) -> frozenset[str]:
    return frozenset(name for name in text.split(",") if name)
