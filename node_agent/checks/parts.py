"""Puts the agent's checks together with its hands."""

from __future__ import annotations

import shutil
from collections.abc import Callable

import httpx

from kernel.clock import Clock
from node_agent.checks.extra import Checks
from node_agent.checks.machine import Preflight
from node_agent.checks.runner import ChildRunner
from node_agent.engine import Hold
from node_agent.hands import Hands
from node_agent.hardening import hardening
from node_agent.host import boot_id
from node_agent.identity import Home, Identity


def make_checks(
    home: Home,
    hands: Hands,
    client: httpx.AsyncClient,
    identity: Identity,
    clock: Clock,
    boot_ns: Callable[[], int],
) -> tuple[Checks, Preflight]:
    """What makes this node believed: checks of its GPUs, and a look at its machine."""
    docker = shutil.which("docker") if hands.engine.kind == "docker" else None

    async def holds() -> list[Hold]:
        return await hardening(hands.engine, hands.firewall, hands.volumes)

    checks = Checks(
        ChildRunner(docker or ""),
        clock,
        boot_ns,
        node_id=identity.node_id,
        host_boot_id=boot_id(),
    )
    return checks, Preflight(home.path, holds, client, clock)
