"""The gateway's own steps, without sockets: microseconds and byte codes of a request, of a stream's
beginning and end, and of a chunk.

A client's connection and a worker's link are given bytes as the event loop would give them; what
they write is thrown away. Byte codes are the same on every machine and at every load, so they tell
what a change did where a clock cannot. ``cold``: the caches are emptied before each, as the
kernel's network and a machine's other guests empty them for a gateway that sleeps most of the time;
it is what a stream's beginning and end really take there.
"""

from __future__ import annotations

import asyncio
import gc
import json
import shutil
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import FrameType
from typing import Any, cast

from bench.figure import Figure
from bench.gateway import snapshot
from bench.rig import KEY
from inference.cards import Cards
from inference.gateway import Gateway
from inference.links import Link
from inference.pages import Pages
from inference.proxy import ClientConnection
from inference.settings import read
from kernel.clock import SystemClock
from kernel.ids import BootId, SystemIds
from kernel.wire import decode
from kernel.wire.gateway import Snapshot

NAMES = (
    "gateway_steps_request_us",
    "gateway_steps_request_cold_us",
    "gateway_steps_stream_us",  # its beginning, its end and one chunk
    "gateway_steps_stream_cold_us",
    "gateway_steps_chunk_us",  # each further one
    "gateway_steps_request_codes",
    "gateway_steps_stream_codes",
    "gateway_steps_chunk_codes",
)
ROUNDS, REQUESTS, STREAMS, CHUNKS, COLD = 7, 2000, 1000, 100, 60
WARM = 20  # until heads and events are known
CACHE = b"\2" * (64 << 20)  # more than a machine's caches hold


def _asked(**more: object) -> bytes:
    text = "Say something short about nothing in particular."
    fields = {"model": "m", "messages": [{"role": "user", "content": text}], "max_tokens": 100}
    body = json.dumps({**fields, **more}, separators=(",", ":")).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8080\r\n"
        b"authorization: Bearer %b\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b"
    ) % (KEY.encode(), len(body), body)


def _event(choices: list[object], **more: object) -> bytes:
    head = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1760000000}
    text = json.dumps({**head, "model": "m", "choices": choices, **more}, separators=(",", ":"))
    return _framed(text.encode())


def _framed(payload: bytes) -> bytes:
    return b"%x\r\ndata: %b\n\n\r\n" % (len(payload) + 8, payload)


def _choice(text: str, finish: str | None = None) -> list[object]:
    return [{"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": finish}]


def _plain() -> bytes:
    message = {"role": "assistant", "content": "A fixed answer, as long as a short reply." * 3}
    body = json.dumps(
        {
            "id": "chatcmpl-bench",
            "object": "chat.completion",
            "created": 1760000000,
            "model": "m",
            "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
            "usage": {"prompt_tokens": 9, "total_tokens": 41, "completion_tokens": 32},
        }
    ).encode()
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    return head % (len(body), body)


REQUEST, STREAM = _asked(), _asked(stream=True)
ANSWER = _plain()
BEGINS = (
    b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
) + _event(_choice("TS0000000000000000"))
CHUNK = _event(_choice("TS0123456789012345"))
ENDS = (
    _event(_choice("TS0123456789012345", "stop"))
    + _event([], usage={"prompt_tokens": 9, "total_tokens": 109, "completion_tokens": 100})
    + _framed(b"[DONE]")
    + b"0\r\n\r\n"
)


class Wire:
    """The other end of a connection: takes all and says nothing."""

    def __init__(self) -> None:
        self.written: deque[bytes] = deque(maxlen=8)
        self.write = self.written.append  # no byte code of its own

    def get_extra_info(self, name: str) -> None: ...

    def is_reading(self) -> bool:
        return True

    def is_closing(self) -> bool:
        return False


class Steps:
    """One connection of a client and one link to a worker of a real gateway."""

    def __init__(self, home: Path) -> None:
        clock = SystemClock()
        ids = SystemIds(clock)
        settings = read(gateway_spool_dir=str(home), gateway_spool_bytes_max=str(8 << 20))
        self.gateway = Gateway(settings, clock, ids, ids.new(BootId), alone=True)
        self.gateway.tables.replace(decode(json.dumps(snapshot(1)).encode(), Snapshot))
        self.gateway.sweep()
        (replica,) = self.gateway.tables.replicas.values()
        links = replica.links
        self.link = Link(links)
        self.client = ClientConnection(self.gateway, Pages(self.gateway, Cards()))
        self.to_client, self.to_worker = Wire(), Wire()
        self.client.connection_made(cast(asyncio.BaseTransport, self.to_client))
        self.link.connection_made(cast(asyncio.BaseTransport, self.to_worker))
        links.put_back(self.link)

    def request(self) -> None:
        self.client.data_received(REQUEST)
        self.link.data_received(ANSWER)

    def stream(self, chunks: int) -> None:
        self.client.data_received(STREAM)
        self.link.data_received(BEGINS)
        said = self.link.data_received
        for _ in range(chunks):
            said(CHUNK)
        self.link.data_received(ENDS)

    def proven(self) -> None:
        """What was written last is what a client waits for."""
        self.request()
        assert self.to_client.written[-1].startswith(b"HTTP/1.1 200 OK"), self.to_client.written[-1]
        self.stream(3)
        assert self.to_client.written[-1].endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert self.to_client.written[-3] == CHUNK
        assert not self.gateway.exchanges


def byte_codes(work: Callable[[], None]) -> int:
    """How many are run."""
    count = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal count
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        count += event == "opcode"
        return trace

    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(None)
    return count


def hot_us(work: Callable[[], None], times: int) -> float:
    """CPU of one, of the calmest round."""
    found = []
    for _ in range(ROUNDS):
        before = time.process_time_ns()
        for _ in range(times):
            work()
        found.append((time.process_time_ns() - before) / times / 1000)
    return min(found)


def cold_us(*parts: Callable[[], None]) -> float:
    """Of all parts together, each with caches that hold nothing of it."""
    found = []
    for _ in range(COLD):
        spent_ns = 0
        for part in parts:
            CACHE.find(b"\1")
            before = time.perf_counter_ns()
            part()
            spent_ns += time.perf_counter_ns() - before
        found.append(spent_ns / 1000)
    return median(found)


def measured(steps: Steps) -> list[Figure]:
    client, link = steps.client, steps.link
    for _ in range(WARM):
        steps.request()
    request = hot_us(steps.request, REQUESTS)
    request_cold = cold_us(
        lambda: client.data_received(REQUEST),
        lambda: link.data_received(ANSWER),
    )
    request_codes = byte_codes(steps.request)
    for _ in range(WARM):
        steps.stream(3)
    stream = hot_us(lambda: steps.stream(1), STREAMS)
    stream_cold = cold_us(
        lambda: client.data_received(STREAM),
        lambda: link.data_received(BEGINS),
        lambda: link.data_received(CHUNK),
        lambda: link.data_received(ENDS),
    )
    long = hot_us(lambda: steps.stream(1 + CHUNKS), STREAMS // 10)
    stream_codes = byte_codes(lambda: steps.stream(1))
    longer_codes = byte_codes(lambda: steps.stream(1 + CHUNKS))
    times = (request, request_cold, stream, stream_cold, (long - stream) / CHUNKS)
    codes = (request_codes, stream_codes, (longer_codes - stream_codes) / CHUNKS)
    return [
        *(Figure(name, us, "us") for name, us in zip(NAMES[:5], times, strict=True)),
        *(Figure(name, count, "codes") for name, count in zip(NAMES[5:], codes, strict=True)),
    ]


async def figures(_database_url: str, _valkey_url: str) -> list[Figure]:
    """All ``gateway_steps_*`` figures."""
    home = Path(tempfile.mkdtemp(prefix="ganglion-bench-steps-"))
    try:
        steps = Steps(home)
        gc.collect()
        gc.freeze()
        steps.proven()
        return measured(steps)
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    for figure in asyncio.run(figures("", "")):
        print(figure.line())
