"""What goes over links: a worker behind them is the same to a client as one that is dialled."""

from __future__ import annotations

import asyncio
import json
from contextlib import AbstractAsyncContextManager

import pytest

from kernel.errors import Unavailable
from kernel.wire.agent import DesiredLease, GatewayAddress
from kernel.wire.gateway import SegmentEnd
from tests.support.gateway import KEY, Gateway, StartGateway
from tests.support.link_ends import LinkEnds, link_ends
from tests.support.links import link_address, linked, linked_lease, node_links, tables_of
from tests.support.raw_http import connect, request
from tests.support.scripted_worker import (
    CUT,
    WAIT,
    Script,
    answer,
    chunk,
    scripted_worker,
    stream_head,
)
from tests.support.wait import free_port, until
from tests.unit.inference import sse

ASK = request(b'{"model":"m","stream":true}', key=KEY)
WHOLE: Script = [stream_head(), chunk(sse.HELLO), chunk(sse.STOP + sse.DONE), chunk(b"")]
PLAIN_HALF = b"HTTP/1.1 200 OK\r\ncontent-length: 300000\r\n\r\n" + b"x" * 200_000
STAGES: dict[str, Script] = {
    "before the first byte": [WAIT],
    "after the head": [stream_head(), WAIT],
    "after the first content": [stream_head(), chunk(sse.HELLO), WAIT],
    "in a long plain answer": [PLAIN_HALF, WAIT],
}
LEASE = linked_lease([], port=8000)


def gateway_of(start: StartGateway, **settings: object) -> Gateway:
    return start(tables_of(linked(LEASE, upstream_model="")), gateway_link_port=0, **settings)


async def linked_up(gateway: Gateway, count: int = 4) -> None:
    await until(lambda: gateway.metric("ganglion_gateway_links_idle") >= count, 20)


@pytest.mark.feature("A11", "C2")
@pytest.mark.parametrize("stage", STAGES)
async def test_a_client_that_hangs_up_stops_the_worker(
    start_gateway: StartGateway, stage: str
) -> None:
    gateway = gateway_of(start_gateway)
    async with (
        scripted_worker(STAGES[stage]) as worker,
        node_links([link_address(gateway)], (LEASE, worker.port)),
    ):
        await linked_up(gateway)
        async with connect(gateway.port) as raw:
            await raw.send(ASK)
            await until(lambda: len(worker.requests) == 1)
            if stage in ("after the first content", "in a long plain answer"):
                await raw.head()
        await until(lambda: worker.aborted == 1)
        (piece,) = await until(gateway.segments)
        assert (piece.end, piece.status) == (SegmentEnd.ABORTED, 499)


@pytest.mark.feature("C2")
async def test_a_worker_that_closes_breaks_the_stream_as_ever(start_gateway: StartGateway) -> None:
    gateway = gateway_of(start_gateway)
    async with (
        scripted_worker([stream_head(), chunk(sse.HELLO), CUT]) as worker,
        node_links([link_address(gateway)], (LEASE, worker.port)),
    ):
        await linked_up(gateway)
        async with connect(gateway.port) as raw:
            await raw.send(ASK)
            body = (await raw.answer()).body
        assert b"connection closed early" in body
        assert b"[DONE]" not in body


async def test_a_worker_that_does_not_listen_is_a_bad_gateway(start_gateway: StartGateway) -> None:
    gateway = gateway_of(start_gateway)
    async with node_links([link_address(gateway)], (LEASE, free_port())):
        await linked_up(gateway)
        async with connect(gateway.port) as raw:
            await raw.send(ASK)
            assert (await raw.answer()).status == 502


async def test_no_link_in_time_is_refused_as_an_unreachable_worker(
    start_gateway: StartGateway,
) -> None:
    gateway = gateway_of(start_gateway, gateway_connect_seconds_max=0.5)
    async with connect(gateway.port) as raw:
        await raw.send(ASK)
        said = await raw.answer()
    assert said.status == 502
    assert b"cannot be reached" in said.body


async def test_a_worker_that_can_be_reached_again_is_asked_at_once(
    start_gateway: StartGateway,
) -> None:
    """What rests it for seconds is over when its agent's link stands."""
    gateway = gateway_of(start_gateway, gateway_connect_seconds_max=1)
    for _ in range(3):
        async with connect(gateway.port) as raw:
            await raw.send(ASK)
            assert (await raw.answer()).status in (502, 503)
    async with (
        scripted_worker(WHOLE) as worker,
        node_links([link_address(gateway)], (LEASE, worker.port)),
    ):
        await linked_up(gateway)
        async with connect(gateway.port) as raw:
            await raw.send(ASK)
            assert (await raw.answer()).status == 200


@pytest.mark.feature("C2")
async def test_many_at_once_get_the_links_that_they_need(start_gateway: StartGateway) -> None:
    gateway = gateway_of(start_gateway)
    script: Script = [stream_head(), 0.5, *WHOLE[1:]]
    async with (
        scripted_worker(script) as worker,
        node_links([link_address(gateway)], (LEASE, worker.port)),
    ):
        await linked_up(gateway)

        async def one() -> bytes:
            async with connect(gateway.port) as raw:
                await raw.send(ASK)
                return (await raw.answer()).body

        bodies = await asyncio.gather(*(one() for _ in range(100)))
        assert all(body.endswith(b"data: [DONE]\n\n") for body in bodies)
        assert gateway.metric("ganglion_gateway_links_waiting") == 0


async def test_a_used_link_is_used_again(start_gateway: StartGateway) -> None:
    gateway = gateway_of(start_gateway)
    content = json.dumps({"choices": [], "usage": {"prompt_tokens": 1}}).encode()
    async with (
        scripted_worker([answer(content)]) as worker,
        node_links([link_address(gateway)], (LEASE, worker.port)),
    ):
        await linked_up(gateway)
        for _ in range(20):
            async with connect(gateway.port) as raw:
                await raw.send(request(b'{"model":"m"}', key=KEY))
                assert (await raw.answer()).status == 200
        assert gateway.metric("ganglion_gateway_links ") <= 7  # control, fresh ones, the used one


@pytest.mark.feature("C2", "E3")
async def test_any_port_that_the_work_opened_is_reached_and_no_other() -> None:
    lease = linked_lease([], port=0, health_path="", ports=[free_port()])
    [port] = lease.launch.ports
    async with opened(lease) as ends, node_links([address(ends)], (lease, 0)):
        server = await asyncio.start_server(shout, "127.0.0.1", port)
        transport = await ends.listener.open(lease.lease_id, 1, port, 10)
        heard = asyncio.StreamReader()
        transport.set_protocol(asyncio.StreamReaderProtocol(heard))
        transport.write(b"hello")
        transport.write_eof()
        assert await heard.read() == b"HELLO"  # its end came through, and the answer came back
        with pytest.raises(Unavailable, match="no port 1"):
            await ends.listener.open(lease.lease_id, 1, 1, 10)
        with pytest.raises(Unavailable, match="no shell"):
            await ends.listener.open(lease.lease_id, 1, "exec", 10)
        server.close()


@pytest.mark.feature("E3")
async def test_a_link_to_exec_is_a_pair_of_streams_for_the_shell() -> None:
    async def shell(
        lease_id: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        writer.write(lease_id.encode() + await reader.readline())
        await writer.drain()

    lease = linked_lease([], port=0, health_path="", shell=True)
    async with opened(lease) as ends, node_links([address(ends)], (lease, 0), shell=shell):
        transport = await ends.listener.open(lease.lease_id, 1, "exec", 10)
        heard = asyncio.StreamReader()
        transport.set_protocol(asyncio.StreamReaderProtocol(heard))
        transport.write(b" says hello\n")
        assert await heard.read() == f"{lease.lease_id} says hello\n".encode()


def opened(lease: DesiredLease) -> AbstractAsyncContextManager[LinkEnds]:
    """A listener that expects this lease."""
    return link_ends(lease_id=lease.lease_id, key=lease.link_key)


def address(ends: LinkEnds) -> GatewayAddress:
    return GatewayAddress(ends.listener.boot_id, ends.listener.url)


async def shout(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers once the other side has said all."""
    writer.write((await reader.read()).upper())
    writer.close()
