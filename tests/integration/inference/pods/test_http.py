"""A pod's port over HTTP, through the front's own process and a real link."""

from __future__ import annotations

import asyncio
import hashlib

import httpx
import pytest

from tests.integration.inference.pods.conftest import Begin
from tests.support.pod_server import client, head_of, mirror, request
from tests.support.raw_http import connect
from tests.support.wait import until

pytestmark = pytest.mark.feature("E3")


async def test_a_request_reaches_the_port_and_its_answer_comes_back(begin: Begin) -> None:
    world = await begin(mirror)
    async with client(world.front) as http:
        answer = await http.get("/a/b?c=d", headers={"x-forwarded-for": "6.6.6.6", "x-own": "1"})
    head = answer.json()["head"]
    assert answer.status_code == 200
    assert answer.headers["x-a"] == "b"
    assert head.startswith("GET /a/b?c=d HTTP/1.1\r\n")
    assert f"Host: {world.front.host()}\r\n" in head
    assert "X-Forwarded-For: 127.0.0.1\r\n" in head
    assert "X-Forwarded-Proto: http\r\n" in head
    assert "6.6.6.6" not in head
    assert "x-own: 1" in head


async def test_a_trusted_proxy_tells_who_asks(begin: Begin) -> None:
    world = await begin(mirror, pod_trusted_proxies="127.0.0.1")
    said = {"x-forwarded-for": "9.9.9.9, 203.0.113.7", "x-forwarded-proto": "https"}
    async with client(world.front) as http:
        head = (await http.get("/", headers=said)).json()["head"]
    assert "X-Forwarded-For: 203.0.113.7\r\n" in head
    assert "X-Forwarded-Proto: https\r\n" in head


async def test_many_requests_of_a_client_share_one_link(begin: Begin) -> None:
    world = await begin(mirror)
    async with client(world.front) as http:
        for _ in range(5):
            assert (await http.get("/")).status_code == 200
    assert world.node.served == [8000]


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunks"])
async def test_a_big_upload_is_streamed_and_whole(begin: Begin, chunked: bool) -> None:
    world = await begin(mirror)
    part = bytes(range(256)) * 256
    before = world.front.rss_mib()

    async def parts():  # type: ignore[no-untyped-def]
        for _ in range(800):
            yield part

    headers = {} if chunked else {"content-length": str(800 * len(part))}
    async with client(world.front) as http:
        told = (await http.put("/", content=parts(), headers=headers)).json()
    assert told["size"] == 800 * len(part)
    assert told["sha256"] == hashlib.sha256(part * 800).hexdigest()
    assert ("Transfer-Encoding: chunked" in told["head"]) is chunked
    assert world.front.rss_mib() - before < 24


async def test_who_reads_slowly_stops_the_pod_from_sending(begin: Begin) -> None:
    written = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            await writer.drain()
            written += 65536

    world = await begin(flood)
    before = world.front.rss_mib()
    async with connect(world.port) as raw:
        await raw.send(request("GET / HTTP/1.1"))
        await raw.head()
        last = -1

        async def still() -> bool:
            nonlocal last
            same, last = written == last and written > 0, written
            return same

        await until(still, 60, every=1.0)
        assert written < 64 << 20
        assert world.front.rss_mib() - before < 16


async def test_a_pod_that_does_not_read_stops_the_client_from_sending(begin: Begin) -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.Event().wait()

    world = await begin(deaf)
    before = world.front.rss_mib()
    sent = 0
    async with connect(world.port) as raw:
        await raw.send(request("PUT / HTTP/1.1", f"Content-Length: {1 << 40}"))

        async def pour() -> None:
            nonlocal sent
            while True:
                await raw.send(b"x" * 65536)
                sent += 65536

        pouring = asyncio.create_task(pour())
        last = -1

        async def still() -> bool:
            nonlocal last
            same, last = sent == last and sent > 0, sent
            return same

        await until(still, 60, every=1.0)
        pouring.cancel()
    assert sent < 64 << 20
    assert world.front.rss_mib() - before < 16


async def test_a_client_that_waits_for_100_gets_it_from_the_pod(begin: Begin) -> None:
    async def careful(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert b"expect: 100-continue" in (await head_of(reader)).lower()
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        await reader.readexactly(5)
        writer.write(b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")

    world = await begin(careful)
    async with connect(world.port) as raw:
        await raw.send(request("PUT / HTTP/1.1", "Content-Length: 5", "Expect: 100-continue"))
        assert (await raw.head())[0] == 100
        await raw.send(b"hello")
        assert (await raw.head())[0] == 201


async def test_websocket_is_passed_on_raw_both_ways(begin: Begin) -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await head_of(reader)).lower()
        assert b"connection: upgrade\r\nupgrade: websocket" in head
        assert b"sec-websocket-key: abc" in head
        writer.write(
            b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Accept: xyz\r\n\r\n\x81\x02hi"
        )
        while received := await reader.read(1 << 16):
            writer.write(received)
        writer.write(b"\x88\x00")
        writer.close()

    world = await begin(echo)
    upgrade = ("Connection: keep-alive, Upgrade", "Upgrade: WebSocket", "Sec-WebSocket-Key: abc")
    async with connect(world.port) as raw:
        await raw.send(request("GET /ws HTTP/1.1", *upgrade))
        status, headers = await raw.head()
        assert (status, headers["sec-websocket-accept"]) == (101, "xyz")
        assert await raw.reader.readexactly(4) == b"\x81\x02hi"
        await raw.send(b"\x81\x85GET / HTTP/1.1\r\n\r\n" * 1000)
        assert await raw.reader.readexactly(20 * 1000) == b"\x81\x85GET / HTTP/1.1\r\n\r\n" * 1000
        raw.writer.write_eof()
        assert await raw.rest() == b"\x88\x00"


async def test_an_answer_until_the_close_comes_in_chunks(begin: Begin) -> None:
    async def old(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nall of it")
        writer.close()

    world = await begin(old)
    async with connect(world.port) as raw:
        await raw.send(request("GET / HTTP/1.1"))
        answer = await raw.answer()
    assert (answer.status, answer.body) == (200, b"all of it")
    assert answer.headers["transfer-encoding"] == "chunked"


async def test_an_answer_that_breaks_off_is_not_taken_for_whole(begin: Begin) -> None:
    async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        await writer.drain()
        writer.close()

    world = await begin(cut)
    async with client(world.front) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/")
