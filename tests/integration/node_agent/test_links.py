"""The agent's links to gateways: workers on a node with no reachable port serve requests."""

from __future__ import annotations

import asyncio
import signal
from typing import Any
from urllib.parse import urlsplit

import psutil
import pytest

from kernel.wire.agent import DesiredLease
from node_agent.links import BEATS_AFTER_LOSS
from tests.support.agent_brain import AgentBrain
from tests.support.agent_process import AgentProcess
from tests.support.flood import EVENT_BYTES, EVENTS
from tests.support.gateway import KEY, Gateway, StartGateway
from tests.support.links import link_address, linked, linked_lease, tables_of
from tests.support.raw_http import connect, request
from tests.support.wait import stretch, until

HELLO: list[Any] = [{"role": "user", "content": "Hello"}]
GROWTH_MIB_MAX = 16.0
FLOOD = ["{python}", "-m", "tests.support.flood", "{port}"]


def gateway_for(start: StartGateway, lease: DesiredLease, **fields: Any) -> Gateway:
    return start(tables_of(linked(lease, **fields)), gateway_link_port=0)


async def linked_up(gateway: Gateway, count: int = 4) -> None:
    await until(lambda: gateway.metric("ganglion_gateway_links_idle") >= count, 60)


async def linked_worker(
    brain: AgentBrain, agent: AgentProcess, start: StartGateway, **launch: Any
) -> Gateway:
    """An agent with one worker on one GPU; the gateway to which its links stand."""
    agent.start()
    lease = linked_lease(await brain.gpu_uuids(1), **launch)
    gateway = gateway_for(start, lease)
    brain.gateways = [link_address(gateway)]
    brain.want(lease)
    await linked_up(gateway)
    return gateway


async def said(gateway: Gateway) -> str:
    """One streamed chat completion by the official client."""
    async with gateway.async_client() as client:
        stream = await client.chat.completions.create(model="m", messages=HELLO, stream=True)
        words = [chunk.choices[0].delta.content or "" async for chunk in stream if chunk.choices]
    return "".join(words)


@pytest.mark.feature("C2")
async def test_a_worker_is_reached_over_links_alone(
    brain: AgentBrain, agent: AgentProcess, start_gateway: StartGateway
) -> None:
    gateway = await linked_worker(brain, agent, start_gateway)
    assert "stand-in" in await said(gateway)
    async with gateway.async_client() as client:
        plain = await client.chat.completions.create(model="m", messages=HELLO)
        cards = await client.models.list()
    assert "stand-in" in (plain.choices[0].message.content or "")
    assert cards.data[0].model_dump()["max_model_len"] == 4096  # the worker's own word


@pytest.mark.feature("C2", "C5")
async def test_links_end_at_once_with_their_lease(
    brain: AgentBrain, agent: AgentProcess, start_gateway: StartGateway
) -> None:
    gateway = await linked_worker(brain, agent, start_gateway, process=FLOOD)
    async with connect(gateway.port) as raw:
        await raw.send(request(b'{"model":"m","stream":true}', key=KEY))
        await raw.head()
        brain.drop(*brain.leases)
        await until(lambda: not links_of(agent, gateway))
        body = b"".join([part async for part in _parts(raw.reader)])
    assert b"closed early" in body
    assert b"[DONE]" not in body


@pytest.mark.feature("C2", "C5")
async def test_an_agent_that_is_started_anew_links_its_work_again(
    brain: AgentBrain, agent: AgentProcess, start_gateway: StartGateway
) -> None:
    gateway = await linked_worker(brain, agent, start_gateway)
    await agent.stop(signal.SIGKILL)
    await until(lambda: gateway.metric("ganglion_gateway_links ") == 0)
    agent.start()
    await linked_up(gateway)
    assert "stand-in" in await said(gateway)


@pytest.mark.feature("C2", "A15")
async def test_every_gateway_serves_one_dies_and_a_new_one_comes(
    brain: AgentBrain, agent: AgentProcess, start_gateway: StartGateway
) -> None:
    agent.start()
    lease = linked_lease(await brain.gpu_uuids(1))
    first, second = gateway_for(start_gateway, lease), gateway_for(start_gateway, lease)
    brain.gateways = [link_address(first), link_address(second)]
    brain.want(lease)
    await linked_up(first)
    await linked_up(second)
    assert await said(first) == await said(second)
    first.kill()
    brain.gateways = [link_address(second)]
    assert "stand-in" in await said(second)
    third = gateway_for(start_gateway, lease)
    beats, brain.beat_seconds = len(brain.beats), 300
    brain.gateways = [link_address(second), link_address(third)]
    await linked_up(third)
    asked = len(BEATS_AFTER_LOSS)  # of the first
    assert len(brain.beats) - beats <= 2 + asked  # the one that was under way, and the next
    assert "stand-in" in await said(third)


@pytest.mark.feature("C2")
async def test_gateways_that_the_brain_forgets_keep_what_stands(
    brain: AgentBrain, agent: AgentProcess, start_gateway: StartGateway
) -> None:
    gateway = await linked_worker(brain, agent, start_gateway)
    brain.gateways = []
    beats = len(brain.beats)
    await until(lambda: len(brain.beats) >= beats + 2)
    assert "stand-in" in await said(gateway)


@pytest.mark.feature("C2")
async def test_a_slow_client_gathers_nothing_on_the_way(
    brain: AgentBrain, agent: AgentProcess, start_gateway: StartGateway
) -> None:
    gateway = await linked_worker(brain, agent, start_gateway, process=FLOOD)
    assert agent.process is not None
    before = rss_mib(agent.process.pid), rss_mib(gateway.process.pid)
    async with connect(gateway.port) as raw:
        await raw.send(request(b'{"model":"m","stream":true}', key=KEY))
        await raw.head()
        await stretch(1.5)  # the point of the test: nobody reads
        after = rss_mib(agent.process.pid), rss_mib(gateway.process.pid)
        count = 0
        async for part in _parts(raw.reader):
            count += part.count(b"~")
    assert after[0] - before[0] < GROWTH_MIB_MAX
    assert after[1] - before[1] < GROWTH_MIB_MAX
    assert count == EVENTS * EVENT_BYTES
    assert rss_mib(agent.process.pid) - before[0] < GROWTH_MIB_MAX


@pytest.mark.feature("C5")
async def test_the_agent_listens_nowhere(
    brain: AgentBrain, agent: AgentProcess, start_gateway: StartGateway
) -> None:
    await linked_worker(brain, agent, start_gateway)
    assert agent.process is not None
    connections = psutil.Process(agent.process.pid).net_connections("inet")
    assert [one for one in connections if one.status == psutil.CONN_LISTEN] == []


async def _parts(reader: asyncio.StreamReader) -> Any:
    """All that comes until the end of the stream, in pieces."""
    async with asyncio.timeout(120):
        tail = b""
        while not tail.endswith(b"\r\n0\r\n\r\n"):
            part = await reader.read(1 << 20)
            if not part:
                return
            tail = (tail + part)[-16:]
            yield part


def links_of(agent: AgentProcess, gateway: Gateway) -> list[int]:
    """The agent's ports of connections to where this gateway takes links."""
    assert agent.process is not None
    port = urlsplit(link_address(gateway).url).port
    connections = psutil.Process(agent.process.pid).net_connections("inet")
    return [one.laddr.port for one in connections if one.raddr and one.raddr.port == port]


def rss_mib(pid: int) -> float:
    return float(psutil.Process(pid).memory_info().rss / (1 << 20))


@pytest.mark.feature("C2")
async def test_a_gateway_that_is_started_anew_is_heard_of_before_the_next_usual_beat(
    brain: AgentBrain, agent: AgentProcess, start_gateway: StartGateway
) -> None:
    gateway = await linked_worker(brain, agent, start_gateway)
    brain.beat_seconds = 300
    beats = len(brain.beats)
    await until(lambda: len(brain.beats) > beats)  # from here on beats are rare
    gateway.kill()
    [lease] = brain.leases.values()
    anew = gateway_for(start_gateway, lease)
    brain.gateways = [link_address(anew)]
    await linked_up(anew)
    assert "stand-in" in await said(anew)
