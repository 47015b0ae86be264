"""A node that nothing can reach: the agent's own connections outward are all there is."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.agent_brain import AgentBrain
from tests.support.agent_process import AgentProcess
from tests.support.gateway import Gateway, StartGateway
from tests.support.links import link_address, linked, linked_lease, tables_of
from tests.support.node_net import NodeNet, node_net
from tests.support.wait import free_port, stretch, until

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
pytestmark = pytest.mark.slow


@pytest.fixture
def net() -> Iterator[NodeNet]:
    with node_net() as found:
        yield found


@pytest.fixture
async def brain(net: NodeNet) -> AsyncIterator[AgentBrain]:
    brain = AgentBrain(host=net.outside)
    await brain.start()
    yield brain
    await brain.stop()


@pytest.fixture
def agent(net: NodeNet, brain: AgentBrain, tmp_path: Path) -> Iterator[AgentProcess]:
    agent = AgentProcess(tmp_path / "agent", brain.url, within=net.command)
    yield agent
    agent.clean()


async def linked_worker(
    net: NodeNet, brain: AgentBrain, agent: AgentProcess, start: StartGateway
) -> Gateway:
    """An agent inside with one worker on one GPU; the gateway outside to which its links stand."""
    agent.start()
    lease = linked_lease(await brain.gpu_uuids(1))
    tables = tables_of(linked(lease))
    gateway = start(tables, gateway_link_port=0, gateway_link_host=net.outside)
    brain.gateways = [link_address(gateway)]
    brain.want(lease)
    await until(lambda: gateway.metric("ganglion_gateway_links_idle") >= 4, 60)
    return gateway


@pytest.mark.feature("C2")
async def test_a_node_that_nothing_can_reach_serves_a_streamed_chat(
    net: NodeNet, brain: AgentBrain, agent: AgentProcess, start_gateway: StartGateway
) -> None:
    gateway = await linked_worker(net, brain, agent, start_gateway)
    async with gateway.async_client() as client:
        stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
        words = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    assert "stand-in" in "".join(words)
    seen = brain.seen(*brain.leases)
    assert seen is not None
    for host in (net.address, net.outside, "127.0.0.1"):
        assert not await reaches(host, seen.port), "the worker is reached past its links"


async def test_the_namespace_lets_out_and_not_in(net: NodeNet) -> None:
    port = free_port()
    python = [*net.command, sys.executable, "-c"]
    serve = f"import socket\ns = socket.create_server(('0.0.0.0', {port}))\nwhile s.accept(): pass"
    call = f"import socket; socket.create_connection(('127.0.0.1', {port}), 5)"
    listening = subprocess.Popen([*python, serve])
    try:
        await until(lambda: subprocess.run([*python, call], check=False).returncode == 0)
        assert not await reaches(net.address, port)
        assert listening.poll() is None
    finally:
        listening.kill()
        listening.wait()


@pytest.mark.feature("C2")
async def test_links_come_back_when_the_cable_does(
    net: NodeNet, brain: AgentBrain, agent: AgentProcess, start_gateway: StartGateway
) -> None:
    gateway = await linked_worker(net, brain, agent, start_gateway)
    net.cut()
    beats = len(brain.beats)
    await stretch(3)  # some of the agent's calls fail meanwhile
    net.mend()
    await until(lambda: len(brain.beats) > beats, 60)
    async with gateway.async_client() as client:
        plain = await client.chat.completions.create(model="m", messages=HELLO)
    assert "stand-in" in (plain.choices[0].message.content or "")


async def reaches(host: str, port: int) -> bool:
    """Whether a connection to there stands within a second."""

    def call() -> bool:
        try:
            socket.create_connection((host, port), 1).close()
        except OSError:
            return False
        return True

    return await asyncio.to_thread(call)
