"""An agent that is started anew while the brain is away links its work to the gateways it knew."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from kernel.clock import SystemClock
from kernel.wire.agent import GatewayAddress
from node_agent.links import Links
from tests.support.gateway import StartGateway
from tests.support.links import link_address, linked, linked_lease, show, tables_of
from tests.support.wait import free_port, until

LEASE = linked_lease([], port=8000)


@asynccontextmanager
async def started(memory: Path, *named: GatewayAddress) -> AsyncIterator[Links]:
    """The agent's links, told of these gateways (none: the brain is away)."""
    made = Links(SystemClock(), time.monotonic_ns, memory=memory)
    show(made, list(named), (LEASE, free_port()), heard=bool(named))
    running = asyncio.create_task(made.run())
    yield made
    running.cancel()
    await asyncio.wait({running})


async def test_it_remembers_where_gateways_take_links(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    memory = tmp_path / "gateways.json"
    gateway = start_gateway(tables_of(linked(LEASE)), gateway_link_port=0)
    idle = "ganglion_gateway_links_idle"
    async with started(memory, link_address(gateway)):
        await until(lambda: gateway.metric(idle) >= 4, 20)
    await until(lambda: gateway.metric(idle) == 0, 20)
    async with started(memory):
        await until(lambda: gateway.metric(idle) >= 4, 20)
    assert memory.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]"])
async def test_a_damaged_file_is_nothing_more_than_forgotten(
    tmp_path: Path, content: bytes
) -> None:
    memory = tmp_path / "gateways.json"
    memory.write_bytes(content)
    address = GatewayAddress("boot_1", "http://127.0.0.1:9")
    async with started(memory, address):
        assert b"boot_1" in memory.read_bytes()


@pytest.mark.parametrize("listed", [False, True], ids=["none is known", "a dead one is known"])
async def test_work_that_no_gateway_leads_to_asks_the_brain_again_soon(
    tmp_path: Path, listed: bool
) -> None:
    """A gateway that started beside it is not in the answer that began it."""
    dead = GatewayAddress("boot_dead", f"http://127.0.0.1:{free_port()}")
    asked = asyncio.Event()
    async with started(tmp_path / "gateways.json", *([dead] if listed else [])) as links:
        links.ask_for_beat = asked.set
        await asyncio.wait_for(asked.wait(), 20)
        assert asked.is_set()
