"""What this Docker has of what keeps tenants apart, and what follows from it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from node_agent.engine import Hold

GVISOR = "runsc"
GVISOR_GPUS = "nvproxy"


@dataclass(frozen=True)
class Facts:
    """From Docker's own ``/info``."""

    seccomp: bool = False
    access_control: bool = False  # AppArmor or SELinux
    user_namespaces: bool = False
    gvisor: bool = False
    gvisor_gpus: bool = False
    memory_limit: bool = False
    swap_limit: bool = False
    pids_limit: bool = False
    live_restore: bool = False


def facts_of(info: Mapping[str, Any]) -> Facts:
    security = [str(entry) for entry in info.get("SecurityOptions") or ()]
    runtimes: Mapping[str, Any] = info.get("Runtimes") or {}
    arguments = " ".join((runtimes.get(GVISOR) or {}).get("runtimeArgs") or ())
    return Facts(
        seccomp=any("name=seccomp" in entry for entry in security),
        access_control=any("apparmor" in entry or "selinux" in entry for entry in security),
        user_namespaces=any("name=userns" in entry for entry in security),
        gvisor=GVISOR in runtimes,
        gvisor_gpus=GVISOR_GPUS in arguments,
        memory_limit=bool(info.get("MemoryLimit")),
        swap_limit=bool(info.get("SwapLimit")),
        pids_limit=bool(info.get("PidsLimit")),
        live_restore=bool(info.get("LiveRestoreEnabled")),
    )


def runtime_for(facts: Facts, chosen: str | None, *, gpus: bool) -> str | None:
    """The owner's choice; else gVisor where Docker has it and it can do this work; else Docker's
    own default."""
    if chosen:
        return chosen
    return GVISOR if facts.gvisor and (facts.gvisor_gpus or not gpus) else None


def holds_of(facts: Facts, chosen: str | None) -> list[Hold]:
    """One line a point; what the agent itself gives to each container is among them."""
    gvisor = runtime_for(facts, chosen, gpus=False)
    gpus_too = runtime_for(facts, chosen, gpus=True) == gvisor
    sandbox = f"Runtime {gvisor}{'' if gpus_too else ', for work without GPUs only'}."
    return [
        Hold("containers", True, "Work runs in containers without privilege or Docker's socket."),
        Hold("seccomp", facts.seccomp, "" if facts.seccomp else "Docker has no seccomp profile."),
        Hold(
            "access_control",
            facts.access_control,
            "" if facts.access_control else "Neither AppArmor nor SELinux guards containers.",
        ),
        Hold(
            "user_namespaces",
            facts.user_namespaces,
            "" if facts.user_namespaces else 'Set "userns-remap": "default" in daemon.json.',
        ),
        Hold("gvisor", gvisor is not None, sandbox if gvisor else "Docker has no runsc runtime."),
        Hold("memory_limit", facts.memory_limit, "" if facts.memory_limit else _NO_LIMIT),
        Hold("swap_limit", facts.swap_limit, "" if facts.swap_limit else _NO_LIMIT),
        Hold("pids_limit", facts.pids_limit, "" if facts.pids_limit else _NO_LIMIT),
        Hold(
            "live_restore",
            facts.live_restore,
            ""
            if facts.live_restore
            else 'Set "live-restore": true in daemon.json: without it a'
            " restart of Docker ends all work.",
        ),
    ]


_NO_LIMIT = "The kernel's cgroups do not keep this limit."
