"""Links between the real agent and real gateways: leases with keys, and tables that name them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from msgspec.structs import replace

from kernel.clock import NS, SystemClock
from kernel.wire.agent import BeatAnswer, DesiredLease, GatewayAddress
from kernel.wire.gateway import REVERSE, AccountRow, LinkRow, ReplicaRow, Snapshot
from node_agent.link_dial import Dialler
from node_agent.link_tether import Shell
from node_agent.links import Links
from node_agent.records import AgentState, Held, Phase, Work
from tests.support.agent_brain import lease_of
from tests.support.gateway import OWNER, Gateway, deployment_row, key_row, numbered

LINK_KEY = "5a" * 32


def linked_lease(gpu_uuids: list[str], **launch: Any) -> DesiredLease:
    """A lease whose work can be reached over links."""
    return replace(lease_of(gpu_uuids, **launch), link_key=LINK_KEY)


def linked(lease: DesiredLease, number: int = 1, **fields: Any) -> ReplicaRow:
    """The replica of a lease, as gateways are told of it."""
    return ReplicaRow(
        **{
            "replica_id": numbered("rep", number),
            "deployment_id": numbered("dep", 1),
            "lease_id": lease.lease_id,
            "epoch": lease.epoch,
            "gpus": 1,
            "link": LinkRow(kind=REVERSE, key=lease.link_key),
            "upstream_model": "demo",
            **fields,
        }
    )


def tables_of(*replicas: ReplicaRow) -> Snapshot:
    """One account, one deployment ``m``, on these replicas."""
    return Snapshot(
        keys=[key_row()],
        accounts=[AccountRow(OWNER)],
        deployments=[deployment_row()],
        replicas=list(replicas),
    )


def link_address(gateway: Gateway) -> GatewayAddress:
    """Where this gateway takes links, as it logged it."""
    lines = gateway.log.read_text().splitlines()  # the last one may be in the middle
    told = json.loads(next(line for line in lines if '"links_listening"' in line))
    return GatewayAddress(told["boot_id"], told["url"])


@asynccontextmanager
async def node_links(
    gateways: list[GatewayAddress],
    *leases: tuple[DesiredLease, int],
    shell: Shell | None = None,
    dialler: Dialler | None = None,
) -> AsyncIterator[Links]:
    """The agent's links alone, in this process: each lease's worker listens at the port beside it.

    Ports inside the container are published at themselves, so that a test names any.
    """
    made = Links(SystemClock(), time.monotonic_ns, shell=shell, dialler=dialler)
    show(made, gateways, *leases)
    running = asyncio.create_task(made.run())
    try:
        yield made
    finally:
        running.cancel()
        await asyncio.wait({running})


def show(
    links: Links,
    gateways: list[GatewayAddress],
    *leases: tuple[DesiredLease, int],
    heard: bool = True,
) -> None:
    """What the agent would show its links after a beat (if it was answered) and a look."""
    far_ns = time.monotonic_ns() + 3600 * NS
    held = {lease.lease_id: Held(lease, far_ns, ready_ref="run") for lease, _ in leases}
    works = [
        Work(
            lease_id=lease.lease_id,
            epoch=lease.epoch,
            installation_id="test",
            gpu_uuids=frozenset(),
            phase=Phase.RUNNING,
            ref="run",
            port=port,
            ports={inside: inside for inside in lease.launch.ports},
        )
        for lease, port in leases
    ]
    links.see(AgentState("boot", leases=held), works)
    if heard:
        links.hear(BeatAnswer(generation=1, gateways=gateways), 0)
