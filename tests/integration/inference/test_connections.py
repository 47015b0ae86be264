"""What may come over a connection: slow, long, many at once, malformed, old-fashioned."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Sized
from contextlib import suppress
from functools import partial

import pytest

from inference.realtime.sound import wav
from kernel.wire.gateway import SegmentEnd
from tests.support.gateway import KEY, Gateway, StartGateway, launch, snapshot
from tests.support.raw_http import RawConnection, connect, request
from tests.support.scripted_worker import WAIT, answer, chunk, scripted_worker, stream_head
from tests.support.standin import MODEL, StandIn
from tests.support.wait import stretch, until
from tests.unit.inference import sse

CHAT = json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi"}]}).encode()
STREAM = json.dumps({**json.loads(CHAT), "stream": True}).encode()
BODY_MAX = 100_000


@pytest.fixture(scope="module")
def gateway(quick_stand_in: StandIn, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    port = int(quick_stand_in.url.rsplit(":", 1)[1])
    tables = snapshot(port, upstream_model=MODEL)
    folder = tmp_path_factory.mktemp("gateway")
    started = launch(folder, tables, gateway_body_bytes_max=BODY_MAX)
    yield started
    started.kill()


def error_code(body: bytes) -> str:
    code: str = json.loads(body)["error"]["code"]
    return code


async def test_one_connection_carries_many_requests(gateway: Gateway) -> None:
    async with connect(gateway.port) as raw:
        for body in (CHAT, STREAM, b"{", CHAT):
            await raw.send(request(body, key=KEY))
            assert (await raw.answer()).status == (400 if body == b"{" else 200)


async def test_pipelined_requests_are_answered_in_order(gateway: Gateway) -> None:
    bodies = [CHAT, b"{}", STREAM, b"nonsense", CHAT]
    async with connect(gateway.port) as raw:
        await raw.send(b"".join(request(body, key=KEY) for body in bodies))
        assert [(await raw.answer()).status for _ in bodies] == [200, 400, 200, 400, 200]


async def test_a_request_that_comes_in_while_the_gateway_goes_is_answered(
    start_gateway: StartGateway, quick_stand_in: StandIn
) -> None:
    port = int(quick_stand_in.url.rsplit(":", 1)[1])
    whole = request(CHAT, key=KEY)
    for cut in (len(whole) - 5, 40):  # in its body, in its head
        started = start_gateway(snapshot(port, upstream_model=MODEL))
        async with connect(started.port) as raw, connect(started.port) as idle:
            await raw.send(whole[:cut])
            await idle.send(request(CHAT, key=KEY))
            assert (await idle.answer()).status == 200
            started.process.terminate()
            assert await idle.rest() == b""
            await raw.send(whole[cut:])
            told = await raw.answer()
            assert told.status == (200 if cut > 40 else 503)
            assert await raw.rest() == b""


async def test_a_request_may_come_byte_by_byte_and_in_chunks(gateway: Gateway) -> None:
    head = request(b"", "transfer-encoding: chunked", key=KEY).replace(
        b"content-length: 0\r\n", b""
    )
    chunks = b"".join(b"1\r\n%c\r\n" % one for one in CHAT) + b"0\r\n\r\n"
    async with connect(gateway.port) as raw:
        for place in range(0, len(head + chunks), 3):
            await raw.send((head + chunks)[place : place + 3])
        assert (await raw.answer()).status == 200


async def test_expect_continue_is_answered_before_the_body(gateway: Gateway) -> None:
    whole = request(CHAT, "expect: 100-continue", key=KEY)
    async with connect(gateway.port) as raw:
        await raw.send(whole[: -len(CHAT)])
        assert (await raw.head())[0] == 100
        await raw.send(CHAT)
        assert (await raw.answer()).status == 200


async def test_expect_continue_with_a_bad_key_is_refused_at_once(gateway: Gateway) -> None:
    async with connect(gateway.port) as raw:
        await raw.send(request(CHAT, "expect: 100-continue", key="bad")[: -len(CHAT)])
        assert (await raw.answer()).status == 401


@pytest.mark.parametrize("told", [True, False])
async def test_a_body_over_the_limit_is_413_in_openais_shape(gateway: Gateway, told: bool) -> None:
    body = b"x" * (BODY_MAX + 1)
    whole = request(body, key=KEY)
    if not told:
        length = b"content-length: %d" % len(body)
        head, framed = whole[: -len(body)], b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body)
        whole = head.replace(length, b"transfer-encoding: chunked") + framed
    async with connect(gateway.port) as raw:
        await raw.send(whole)
        answer = await raw.answer()
        assert (answer.status, error_code(answer.body)) == (413, "too_large")
        assert answer.headers["connection"] == "close"
        assert await raw.rest() == b""


async def test_http_1_0_gets_its_stream_until_the_end_of_the_connection(gateway: Gateway) -> None:
    async with connect(gateway.port) as raw:
        await raw.send(request(STREAM, key=KEY, version="1.0"))
        _, headers = await raw.head()
        assert "transfer-encoding" not in headers
        assert (await raw.rest()).endswith(b"data: [DONE]\n\n")


async def test_http_1_0_is_not_kept_and_told_so(gateway: Gateway) -> None:
    """A client that asked to be kept would wait for the end where no word says that it was."""
    async with connect(gateway.port) as raw:
        await raw.send(request(CHAT, "connection: keep-alive", key=KEY, version="1.0"))
        answer = await raw.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert await raw.rest() == b""


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/chat/completions", 405),
        ("OPTIONS", "/v1/chat/completions", 405),
        ("POST", "/v1/models", 405),
        ("DELETE", "/v1/models/m", 405),
        ("GET", "/", 404),
        ("POST", "/v1/nothing", 404),
        ("GET", "/v1/../etc/passwd", 404),
        ("POST", "//v1/chat/completions", 404),
    ],
)
async def test_other_methods_and_paths(
    gateway: Gateway, method: str, path: str, status: int
) -> None:
    async with connect(gateway.port) as raw:
        await raw.send(request(b"", key=KEY, method=method, path=path))
        answer = await raw.answer()
        assert answer.status == status
        assert set(json.loads(answer.body)["error"]) == {"message", "type", "param", "code"}
        assert ("allow" in answer.headers) == (status == 405)


@pytest.mark.parametrize("site", ["http://127.0.0.1:8080", "HTTPS://api.example"])
async def test_a_whole_address_is_its_path(gateway: Gateway, site: str) -> None:
    """As clients ask that take the gateway for a proxy."""
    async with connect(gateway.port) as raw:
        for _ in range(2):
            await raw.send(request(CHAT, key=KEY, path=f"{site}/v1/chat/completions?x=/"))
            assert (await raw.answer()).status == 200
        await raw.send(request(b"", key=KEY, method="GET", path=f"{site}/v1/models/nothing"))
        assert (await raw.answer()).status == 404


async def test_head_is_answered_without_a_body(gateway: Gateway) -> None:
    async with connect(gateway.port) as raw:
        await raw.send(request(b"", key=KEY, method="HEAD", path="/v1/models"))
        assert (await raw.head())[0] == 405
        await raw.send(request(CHAT, key=KEY))
        assert (await raw.answer()).status == 200


async def test_headers_have_a_limit(gateway: Gateway) -> None:
    async with connect(gateway.port) as raw:
        await raw.send(request(CHAT, "x-long: " + "y" * 70_000, key=KEY))
        assert (await raw.answer()).status == 431
    async with connect(gateway.port) as raw:
        await raw.send(request(CHAT, *[f"x-{n}: y" for n in range(20_000)], key=KEY))
        assert (await raw.answer()).status == 431
    async with connect(gateway.port) as raw:
        await raw.send(request(b"", key=KEY, path="/v1/models/" + "m" * 5000, method="GET"))
        assert (await raw.answer()).status == 431


async def test_a_slow_head_and_a_slow_body_are_cut_off(
    gateway: Gateway, start_gateway: StartGateway
) -> None:
    slow = start_gateway(snapshot(1), gateway_head_seconds_max=1, gateway_body_seconds_max=1)
    async with connect(slow.port) as head, connect(slow.port) as body, connect(slow.port) as idle:
        await body.send(request(CHAT, key=KEY)[:-5])
        await head.send(b"POST /v1/chat/completions HT")
        assert (await head.answer()).status == 408
        assert (await body.answer()).status == 408
        assert await idle.rest() == b""


async def test_what_drips_is_cut_off_as_what_stands_still(start_gateway: StartGateway) -> None:
    limits = {"gateway_head_seconds_max": 1, "gateway_body_seconds_max": 1}
    slow = start_gateway(snapshot(1), **limits)
    whole = request(b"x" * 1000, key=KEY)
    for begun in (0, len(whole) - 1000):  # in the head, in the body
        async with connect(slow.port) as raw:
            await raw.send(whole[:begun])
            dripping = asyncio.create_task(_drip(raw, whole[begun:]))
            assert (await raw.answer()).status == 408
            dripping.cancel()


async def _drip(raw: RawConnection, content: bytes) -> None:
    with suppress(ConnectionError):
        for byte in content:
            await raw.send(bytes([byte]))
            await stretch(0.02)


async def test_who_reads_nothing_is_cut_off_and_the_worker_stops(
    start_gateway: StartGateway,
) -> None:
    endless = [stream_head(), *[chunk(sse.chunk({"content": "x" * 100_000}))] * 200, WAIT]
    async with scripted_worker(endless) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_idle_seconds_max=0.5)
        async with connect(gateway.port) as raw:
            await raw.send(request(STREAM, key=KEY))
            await raw.head()
            await until(lambda: gateway.metric("ganglion_gateway_in_flight") == 0)
        assert [one.end for one in gateway.segments()] == [SegmentEnd.ABORTED]


def _more_than(found: Sized, count: int) -> bool:
    return len(found) > count


async def test_nothing_more_is_taken_from_who_reads_no_answers(start_gateway: StartGateway) -> None:
    long = json.dumps({"choices": [], "x": "y" * 50_000}).encode()
    async with scripted_worker([answer(long)]) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_idle_seconds_max=1)
        async with connect(gateway.port) as raw:
            with suppress(ConnectionError, AssertionError):
                for _ in range(200):
                    seen = len(worker.requests)
                    await raw.send(request(CHAT, key=KEY))
                    await until(partial(_more_than, worker.requests, seen), 2)
            await until(lambda: gateway.metric("ganglion_gateway_connections") == 1)
        assert len(worker.requests) < 150


async def test_an_idle_connection_is_closed(start_gateway: StartGateway) -> None:
    quick = start_gateway(snapshot(1), gateway_keepalive_seconds=0.3)
    async with connect(quick.port) as raw:
        await raw.send(request(b"{}", key=KEY))
        assert (await raw.answer()).status == 400
        assert await raw.rest() == b""


async def test_too_many_connections_are_turned_away(start_gateway: StartGateway) -> None:
    small = start_gateway(snapshot(1), gateway_connections_max=2)
    async with connect(small.port), connect(small.port):
        await asyncio.sleep(0)
        async with connect(small.port) as third:
            answer = await third.answer()
            assert answer.status == 503
            assert int(answer.headers["retry-after"]) >= 1


H2C = "connection: Upgrade, HTTP2-Settings", "upgrade: h2c", "http2-settings: AAMAAABkAAQAAP__"


@pytest.mark.parametrize("framed", ["whole", "dripped", "in chunks"])
async def test_an_offer_of_http_2_is_not_taken_and_its_body_is_read(
    gateway: Gateway, framed: str
) -> None:
    """As Java's own client sends its first request over plain TCP."""
    whole = request(CHAT, *H2C, key=KEY)
    if framed == "in chunks":
        length, half = b"content-length: %d" % len(CHAT), len(CHAT) // 2
        chunks = b"".join(chunk(part) for part in (CHAT[:half], CHAT[half:], b""))
        whole = whole[: -len(CHAT)].replace(length, b"transfer-encoding: chunked") + chunks
    async with connect(gateway.port) as raw:
        step = 7 if framed == "dripped" else len(whole)
        for place in range(0, len(whole), step):
            await raw.send(whole[place : place + step])
        answer = await raw.answer()
        assert (answer.status, answer.headers["connection"]) == (200, "close")
        assert json.loads(answer.body)["usage"]["completion_tokens"] > 0
        assert await raw.rest() == b""


async def test_an_offer_of_http_2_changes_nothing_else(gateway: Gateway) -> None:
    form = (
        b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\nm\r\n--b\r\n'
        b'content-disposition: form-data; name="file"; filename="a"\r\n\r\n%b\r\n--b--\r\n'
    ) % wav(bytes(3200), 16_000)
    asked = [
        (request(CHAT, *H2C, key="bad"), 401),
        (request(b"x" * (BODY_MAX + 1), *H2C, key=KEY), 413),
        (request(b"", *H2C, key=KEY, method="GET", path="/v1/models"), 200),
        (request(b"", *H2C, key=KEY, method="GET", path="/health/live"), 200),
        (request(b"", *H2C, key=KEY, path="/v1/nothing"), 404),
        (request(form, *H2C, key=KEY, path="/v1/audio/transcriptions"), 200),
        (request(CHAT, *H2C, key=KEY) + request(CHAT, key=KEY), 200),
    ]
    for content, status in asked:
        async with connect(gateway.port) as raw:
            await raw.send(content)
            assert (await raw.answer()).status == status
            assert b"HTTP/1.1 200" not in await raw.rest()


async def test_small_packets_are_not_held_back(gateway: Gateway) -> None:
    """TCP_NODELAY on both sides: a stream's parts come when the worker sends them."""
    async with connect(gateway.port) as raw:
        await raw.send(request(STREAM, key=KEY))
        assert (await raw.answer()).status == 200
    page = await asyncio.to_thread(gateway.metric, "ganglion_gateway_first_content_seconds_count")
    assert page >= 1
