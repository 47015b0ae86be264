"""A pod's port over HTTP, through the front's own process and a real link."""

from __future__ import annotations

import asyncio
import hashlib
import json

import httpx
import pytest

from kernel.wire.gateway import ChangeLine, PodState
from tests.integration.inference.pods.conftest import Begin, World
from tests.support.gateway import numbered
from tests.support.pod_front import LINK_KEY, link_address, pod_row
from tests.support.pod_node import node_for
from tests.support.raw_http import connect
from tests.support.wait import until

pytestmark = pytest.mark.feature("E3")
HOST = "Host: mypod-8000.localhost"


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join((line, HOST, *headers)).encode() + b"\r\n\r\n" + body


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with its own head, and counts and digests its body."""
    while head := await _next(reader):
        seen = hashlib.sha256()
        size = 0
        async for part in _body(reader, head):
            seen.update(part)
            size += len(part)
        told = {"head": head.decode(), "size": size, "sha256": seen.hexdigest()}
        content = json.dumps(told).encode()
        length = b"Content-Length: %d\r\n" % len(content)
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nX-A: b\r\n" + length + b"\r\n")
        writer.write(content)
        await writer.drain()


async def _next(reader: asyncio.StreamReader) -> bytes:
    try:
        return await head_of(reader)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def _body(reader: asyncio.StreamReader, head: bytes):  # type: ignore[no-untyped-def]
    low = head.lower()
    if b"transfer-encoding: chunked" in low:
        while size := int(await reader.readline(), 16):
            yield await reader.readexactly(size)
            await reader.readexactly(2)
        await reader.readexactly(2)
    elif b"content-length:" in low:
        left = int(low.split(b"content-length:")[1].split(b"\r\n")[0])
        while left:
            part = await reader.read(min(left, 1 << 16))
            left -= len(part)
            yield part


def client(world: World) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{world.port}",
        headers={"host": world.front.host()},
        timeout=60,
    )


async def test_a_request_reaches_the_port_and_its_answer_comes_back(begin: Begin) -> None:
    world = await begin(mirror)
    async with client(world) as http:
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
    async with client(world) as http:
        head = (await http.get("/", headers=said)).json()["head"]
    assert "X-Forwarded-For: 203.0.113.7\r\n" in head
    assert "X-Forwarded-Proto: https\r\n" in head


async def test_many_requests_of_a_client_share_one_link(begin: Begin) -> None:
    world = await begin(mirror)
    async with client(world) as http:
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
    async with client(world) as http:
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
    async with client(world) as http:
        with pytest.raises(httpx.RemoteProtocolError):
            await http.get("/")


@pytest.mark.parametrize(
    ("host", "status", "code"),
    [
        ("other-8000.localhost", 404, "pod_not_found"),
        ("mypod-9000.localhost", 404, "port_not_open"),
        ("nonsense.localhost", 404, "pod_not_found"),
        ("mypod-8000.elsewhere.org", 404, "unknown_url"),
        ("my pod", 400, "malformed"),
    ],
)
async def test_what_is_not_there_is_said(begin: Begin, host: str, status: int, code: str) -> None:
    world = await begin()
    async with connect(world.port) as raw:
        await raw.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        answer = await raw.answer()
    assert (answer.status, json.loads(answer.body)["code"]) == (status, code)


async def test_a_stopped_pod_says_why(begin: Begin) -> None:
    world = await begin(mirror)
    stopped = pod_row(state=PodState.STOPPED, lease_id="", reason="Stopped by its owner.")
    world.brain.tell(ChangeLine(pod=stopped))
    async with client(world) as http:

        async def refused() -> httpx.Response | None:
            answer = await http.get("/", headers={"accept": "text/html"})
            return answer if answer.status_code == 503 else None

        page = await until(refused)
    assert page is not None
    assert "Stopped by its owner." in page.text
    assert page.headers["content-type"].startswith("text/html")


async def test_a_pod_that_moves_keeps_its_address(begin: Begin) -> None:
    world = await begin(mirror)
    lease = numbered("lease", 2)
    boot_id, url = link_address(world.brain)
    async with client(world) as http:
        assert (await http.get("/")).status_code == 200
        world.brain.tell(ChangeLine(pod=pod_row(lease_id=lease)))
        async with node_for(boot_id, url, lease, LINK_KEY, targets=world.node.targets) as second:

            async def over_there() -> bool:
                return (await http.get("/")).status_code == 200 and second.served == [8000]

            await until(over_there, 30)


async def test_a_port_without_a_server_is_502_and_a_silent_node_504(begin: Begin) -> None:
    world = await begin(pod_link_seconds_max=1)
    async with client(world) as http:
        nothing = await http.get("/")
        world.node.silent = True
        silent = await http.get("/")
    assert (nothing.status_code, nothing.json()["code"]) == (502, "pod_unreachable")
    assert (silent.status_code, silent.json()["code"]) == (504, "pod_silent")


async def test_a_pod_that_never_answers_is_given_up(begin: Begin) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    world = await begin(never, pod_first_byte_seconds_max=0.5)
    async with client(world) as http:
        answer = await http.get("/")
    assert (answer.status_code, answer.json()["code"]) == (504, "pod_silent")


async def test_a_slow_head_is_cut_off(begin: Begin) -> None:
    world = await begin(mirror, pod_head_seconds_max=0.5)
    async with connect(world.port) as raw:
        await raw.send(b"GET / HTTP/1.1\r\nHost: my")
        assert (await raw.answer()).status == 408


async def test_one_address_cannot_take_all_connections(begin: Begin) -> None:
    world = await begin(mirror, pod_connections_per_address_max=2)
    async with connect(world.port) as one, connect(world.port) as two:
        await one.send(request("GET / HTTP/1.1"))
        await two.send(request("GET / HTTP/1.1"))
        assert ((await one.answer()).status, (await two.answer()).status) == (200, 200)
        async with connect(world.port) as three:
            assert (await three.answer()).status == 429


async def test_one_pod_cannot_take_all_of_the_front(begin: Begin) -> None:
    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()

    world = await begin(never, pod_connections_per_pod_max=1)
    async with connect(world.port) as one, connect(world.port) as two:
        await one.send(request("GET / HTTP/1.1"))
        await until(lambda: world.node.served)
        await two.send(request("GET / HTTP/1.1"))
        assert (await two.answer()).status == 429


async def test_a_kept_link_that_was_closed_costs_a_get_nothing(begin: Begin) -> None:
    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await _next(reader)  # closed as the second request arrives
        writer.transport.abort()

    world = await begin(once)
    async with client(world) as http:
        answers = [await http.get("/") for _ in range(3)]
    assert [answer.text for answer in answers] == ["ok", "ok", "ok"]


async def test_the_front_tells_of_itself_at_its_own_name(begin: Begin) -> None:
    world = await begin(mirror)
    base = f"http://127.0.0.1:{world.port}"
    async with httpx.AsyncClient(base_url=base) as http:
        live = await http.get("/health/live")
        await until(lambda: httpx.get(f"{base}/health/ready").status_code == 200)
        metrics = (await http.get("/metrics")).text
    assert live.json() == {"status": "live"}
    assert "ganglion_pods_known 1" in metrics


async def test_a_stop_lets_what_runs_end(begin: Begin) -> None:
    going = asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await head_of(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
        await going.wait()
        writer.write(b"cd")

    world = await begin(slow)
    async with connect(world.port) as raw:
        await raw.send(request("GET / HTTP/1.1"))
        await raw.head()
        world.front.process.terminate()
        await until(lambda: _refuses(world.port), 20)
        going.set()
        assert await raw.reader.readexactly(4) == b"abcd"
    assert await asyncio.to_thread(world.front.process.wait, 30) == 0


async def _refuses(port: int) -> bool:
    try:
        async with connect(port):
            return False
    except ConnectionRefusedError:
        return True
