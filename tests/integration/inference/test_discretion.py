"""What a client says is nobody else's to read, and where a request goes is not its to choose."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from tests.support.gateway import KEY, Gateway, StartGateway, snapshot
from tests.support.raw_http import connect, request
from tests.support.scripted_worker import CUT, Script, answer, chunk, scripted_worker, stream_head
from tests.unit.inference import sse

CANARY = "canary-4f1b0d"  # part of each prompt, name, key and file
CHAT = {"model": "m", "messages": [{"role": "user", "content": f"say {CANARY}"}]}
HELLO = chunk(sse.chunk({"content": CANARY}))
QUOTED = json.dumps({"error": {"message": f"cannot read {CANARY}", "code": 500}}).encode()
# What workers answer, the prompt among it.
SCRIPTS: list[Script] = [
    [answer(QUOTED, status=500)],
    [answer(QUOTED, status=400)],
    [answer(QUOTED)],
    [answer(CANARY.encode(), kind="text/html")],
    [f"{CANARY}\r\n\r\n".encode()],
    [stream_head(), HELLO, CUT],
    [stream_head(), HELLO, f"{CANARY}\r\n".encode()],
    [stream_head(), HELLO, chunk(b"data: " + QUOTED + b"\n\n"), chunk(sse.DONE)],
    [stream_head(), HELLO, chunk(CANARY.encode() + b"\n\n")],
    [stream_head(), HELLO, chunk(sse.STOP + sse.DONE), chunk(b"")],
    [f"HTTP/1.1 200 OK\r\n{CANARY}: x\r\ncontent-length: 2\r\n\r\n{{}}".encode()],
]


def form(name: str) -> bytes:
    head = f'--{CANARY}\r\ncontent-disposition: form-data; name="{name}"; filename="{CANARY}"'
    return f"{head}\r\n\r\n{CANARY}\r\n--{CANARY}--\r\n".encode()


def asked() -> list[bytes]:
    """Requests of every kind, refused by the gateway or sent on."""
    chat, stream = json.dumps(CHAT).encode(), json.dumps({**CHAT, "stream": True}).encode()
    upload = form("model").replace(b'"; filename', b'"; x') + form("file")
    return [
        request(chat, key=KEY),
        request(stream, key=KEY),
        request(stream, "x-ganglion-continue: true", key=KEY),
        request(chat, f"idempotency-key: {CANARY}", key=KEY),
        request(chat, f"traceparent: {CANARY}", f"tracestate: {CANARY}=1", key=KEY),
        request(chat, f"x-ganglion-{CANARY}: {CANARY}", f"cookie: {CANARY}", key=KEY),
        request(chat, key=f"gk_{CANARY}"),
        request(chat, key=KEY, path=f"/v1/chat/completions?key={CANARY}"),
        request(chat, key=KEY, path=f"/v1/{CANARY}"),
        request(b"", key=KEY, method="GET", path=f"/v1/models/{CANARY}"),
        request(chat.replace(b'"m"', f'"{CANARY}"'.encode()), key=KEY),
        request(chat[:-1], key=KEY),
        request(chat.replace(b'"m"', f'{{"{CANARY}": 1}}'.encode()), key=KEY),
        request(upload, key=KEY, path="/v1/audio/transcriptions"),
        request(form("model"), key=KEY, path="/v1/audio/transcriptions"),
        request(upload[:-9], key=KEY, path="/v1/audio/transcriptions"),
        request(chat, key=KEY, method=CANARY),
        request(chat, f"{CANARY}: \0", key=KEY),
    ]


async def send(gateway: Gateway, content: bytes) -> bytes:
    async with connect(gateway.port) as raw:
        await raw.send(content.replace(b"\r\n", b"\r\nconnection: close\r\n", 1))
        return await raw.rest()


@pytest.mark.feature("A15")
@pytest.mark.feature("O1")
async def test_nothing_that_a_client_or_a_worker_says_is_logged(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker(lambda number: SCRIPTS[number % len(SCRIPTS)]) as worker:
        ports = [worker.port] * 200  # so many that no breaker keeps all of them away
        gateway = start_gateway(snapshot(*ports), gateway_trace_always=1)
        for content in asked() * 3:
            assert (await send(gateway, content)).startswith(b"HTTP/1.1 ")
        assert len(worker.requests) > len(SCRIPTS)
        page = httpx.get(f"{gateway.url}/metrics", timeout=5).text
        assert gateway.stop() == 0
    written = gateway.log.read_text()
    assert written.count('"request"') > 20, "each request has a line"
    kept = b"".join(path.read_bytes() for path in gateway.spool.glob("*/*.spool"))
    assert kept, "the spool is still there"
    for text in (written, page, kept.decode("latin-1")):
        assert (CANARY in text, KEY in text, "Traceback" in text) == (False, False, False)


ELSEWHERE = "http://127.0.0.1:{port}/v1"
# What other gateways let a client choose an upstream by, or passed on to one.
CHOOSING = (
    "host",
    "x-forwarded-host",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
    "x-host",
    "x-target-url",
    "x-upstream",
    "x-upstream-url",
    "x-base-url",
    "x-portkey-custom-host",
    "x-portkey-config",
    "x-litellm-api-base",
    "helicone-target-url",
    "helicone-openai-api-base",
    "x-gateway-destination-endpoint",
    "x-prefiller-host-port",
    "x-data-parallel-host-port",
    "x-envoy-original-dst-host",
    "x-envoy-original-path",
    "x-goog-api-client",
    "destination",
    "location",
    "forwarded",
    "x-forwarded-for",
    "x-real-ip",
    "via",
    "proxy-authorization",
    "cookie",
    "x-api-key",
    "api-key",
    "openai-organization",
    "te",
    "trailer",
    "keep-alive",
)
MEMBERS = ("api_base", "base_url", "custom_host", "endpoint", "kv_transfer_params", "request_id")
SENT = {b"host: worker", b"content-type: application/json"}


@asynccontextmanager
async def elsewhere() -> AsyncIterator[tuple[int, list[int]]]:
    """A server that nobody is to reach: its port, and who did."""
    came: list[int] = []

    async def come(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        came.append(1)
        writer.close()

    server = await asyncio.start_server(come, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], came


@pytest.mark.feature("A15")
@pytest.mark.feature("A20")
async def test_no_header_and_no_member_chooses_where_a_request_goes(
    start_gateway: StartGateway,
) -> None:
    good: Script = [answer(b'{"choices":[]}')]
    async with scripted_worker(good) as worker, elsewhere() as (port, came):
        gateway, there = start_gateway(snapshot(worker.port)), ELSEWHERE.format(port=port)
        plain = {key: value for key, value in CHAT.items() if key != "model"}
        chats = [json.dumps({"model": "m", **plain, name: there}).encode() for name in MEMBERS]
        contents = [request(chats[0], f"{name}: {there}", key=KEY) for name in CHOOSING]
        contents += [request(chat, key=KEY) for chat in chats]
        for content in contents:
            assert b" 200 OK" in (await send(gateway, content))[:16], content
        for model in (there, f"m@{there}", f"{there}/m", "../m", "m\r\nhost: x"):
            content = json.dumps({**plain, "model": model}).encode()
            assert b" 404 " in (await send(gateway, request(content, key=KEY)))[:16]
        assert len(worker.requests) == len(contents)
        for sent in worker.requests:
            first, *lines = sent.partition(b"\r\n\r\n")[0].split(b"\r\n")
            assert first == b"POST /v1/chat/completions HTTP/1.1"
            others = {
                line
                for line in lines
                if not line.startswith((b"x-request-id: req_", b"content-length: "))
            }
            assert others == SENT
            assert KEY.encode() not in sent
        assert came == []


@pytest.mark.feature("A15")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_no_worker_sends_a_request_elsewhere(
    start_gateway: StartGateway, status: int
) -> None:
    async with elsewhere() as (port, came):
        line = f"\r\nlocation: {ELSEWHERE.format(port=port)}\r\ncontent-type".encode()
        moved = answer(b"{}", status=status).replace(b"\r\ncontent-type", line, 1)
        async with scripted_worker([moved]) as worker:
            gateway = start_gateway(snapshot(worker.port))
            told = await send(gateway, request(json.dumps(CHAT).encode(), key=KEY))
            assert b" 502 " in told[:16]
            assert b"location" not in told
        assert came == []
