"""What the agent takes for a gateway, and what it does not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from kernel.wire import links as wire
from node_agent.link_dial import Dialler, LinkRefused
from tests.support.link_ends import BOOT, KEY, LEASE, link_ends
from tests.support.wait import free_port

LINK = wire.LinkRequest(LEASE, 1, wire.WORKER, BOOT, 1)
OTHER_KEY = b"o" * 32


@asynccontextmanager
async def answering(head: bytes) -> AsyncIterator[str]:
    """Something that answers each connection with these bytes, and then hangs up."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(wire.HEAD_END)
        writer.write(head)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    server.close()


@pytest.mark.feature("C2")
@pytest.mark.parametrize(
    ("head", "why"),
    [
        (wire.accept_head(LINK, OTHER_KEY), "not the gateway"),
        (wire.refuse_head(409, "Epoch 1 of this lease is over."), "409"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "not the gateway"),
        (b"HTTP/1.1 101 Switching Protocols\r\nX: \xff\r\n\r\n", "ASCII"),
        (b"x" * 10_000, "too long"),
        (b"", "closed the connection"),
    ],
)
async def test_what_does_not_prove_the_key_is_no_gateway(head: bytes, why: str) -> None:
    async with answering(head) as url:
        with pytest.raises(LinkRefused) as refused:
            await Dialler().open(url, LINK, KEY)
    assert why in str(refused.value.internal)


async def test_nobody_there_is_a_refused_link() -> None:
    with pytest.raises(LinkRefused):
        await Dialler().open(f"http://127.0.0.1:{free_port()}", LINK, KEY)


@pytest.mark.feature("C2")
async def test_what_the_gateway_says_right_behind_its_answer_is_kept() -> None:
    async with link_ends() as ends:
        waits = asyncio.ensure_future(ends.listener.open(LEASE, 1, 80, 10))
        await ends.shows("links_waiting", 1)
        link = wire.LinkRequest(LEASE, 1, 80, BOOT, 1)
        transport, said = await Dialler().open(ends.listener.url, link, KEY)
        (await waits).write(b"more")
        heard = asyncio.StreamReader()
        transport.set_protocol(asyncio.StreamReaderProtocol(heard))
        heard.feed_data(said)
        transport.resume_reading()
        assert await asyncio.wait_for(heard.readexactly(4), 10) == b"more"
        transport.abort()
