"""Vast.ai's instances as machines: what their several states mean together. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from brain.adapters.clouds.fields import amount, hourly_nano, text, whole
from brain.adapters.clouds.gpus import gpu
from brain.adapters.clouds.vast.offers import region_of
from brain.clouds import Endpoint, Machine, MachineState
from kernel.clock import NS

STOPPED = "stopped"
SAID_MAX = 300
EPOCH_MAX = 2**33  # seconds; what is later is no time
GPUS_MAX = 1024
STATES = {
    "created": MachineState.STARTING,
    "loading": MachineState.STARTING,
    "rebooting": MachineState.STARTING,
    "running": MachineState.RUNNING,
    STOPPED: MachineState.STOPPED,
    "frozen": MachineState.UNKNOWN,  # its memory is kept and its GPU billed; nothing runs
    "exited": MachineState.FAILED,  # the program ended though it was to run
    "unknown": MachineState.UNKNOWN,
    "offline": MachineState.UNKNOWN,
}
# Words of the container runtime after which an instance never comes up.
BROKEN_IMAGE = ("oci runtime create failed", "failed to create shim task")
COMING_UP = frozenset({MachineState.PROVISIONING, MachineState.STARTING})


def machine_of(row: Mapping[str, object]) -> Machine | None:
    """One instance; ``None`` for a row without an id."""
    instance = whole(row, "id")
    if not instance:
        return None
    began = amount(row, "start_date")
    said = text(row, "gpu_name")
    return Machine(
        machine_id=str(instance),
        tag=text(row, "label"),
        state=state_of(row),
        said=said_of(row),
        cost_nano_hour=hourly_nano(amount(row, "dph_total")),
        created_ns=int(began * NS) if began is not None and 0 < began < EPOCH_MAX else None,
        gpu_name=gpu(said, whole(row, "gpu_ram") or 0).name if said else "",
        gpus=min(max(whole(row, "num_gpus") or 0, 0), GPUS_MAX),
        region=region_of(row),
    )


def state_of(row: Mapping[str, object]) -> MachineState:
    """``actual_status`` is what is; the others are what was meant and what will be."""
    meant, now, then = (text(row, name) for name in ("intended_status", "cur_state", "next_state"))
    if then == "unloaded":
        return MachineState.TERMINATING
    if meant == now == then == STOPPED:
        # A bid machine that stands still without a word from us was outbid.
        return MachineState.INTERRUPTED if row.get("is_bid") is True else MachineState.STOPPED
    actual = text(row, "actual_status")
    state = STATES.get(actual, MachineState.UNKNOWN) if actual else MachineState.PROVISIONING
    words = text(row, "status_msg").lower()
    if state in COMING_UP and any(broken in words for broken in BROKEN_IMAGE):
        return MachineState.FAILED
    if state == MachineState.FAILED and meant == STOPPED:
        return MachineState.STOPPED  # it exited because it was stopped
    if state == MachineState.STOPPED and meant == "running":
        return MachineState.PROVISIONING  # it waits for its GPU
    return state


def said_of(row: Mapping[str, object]) -> str:
    """The cloud's own words, on one line."""
    words = [text(row, "actual_status") or "being provisioned", text(row, "status_msg")]
    return " ".join(": ".join(word for word in words if word).split())[:SAID_MAX]


def endpoints_of(row: Mapping[str, object]) -> list[Endpoint]:
    """Direct ports first; the SSH proxy where port 22 has none."""
    found = []
    host = text(row, "public_ipaddr")
    ports = row.get("ports")
    if host and isinstance(ports, Mapping):
        for name, bound in sorted(ports.items()):
            port, _, kind = str(name).partition("/")
            first = bound[0] if isinstance(bound, list) and bound else None
            outside = whole(first, "HostPort") if isinstance(first, Mapping) else None
            if kind == "tcp" and port.isdigit() and outside:
                ssh = port == "22"
                found.append(
                    Endpoint(int(port), host, outside, "ssh" if ssh else "tcp", "root" * ssh)
                )
    proxy, proxy_port = text(row, "ssh_host"), whole(row, "ssh_port")
    if proxy and proxy_port and not any(one.kind == "ssh" for one in found):
        found.append(Endpoint(22, proxy, proxy_port, "ssh", "root", shared=True))
    return found
