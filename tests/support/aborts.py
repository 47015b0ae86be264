"""Clients that hang up on each route at each stage, and a worker that tells when it saw it.

Each request carries a *mark*, ``mark-<stage>-<number>``, somewhere in what reaches the worker; the
``Witness`` finds it, behaves as the stage wants, and notes when its connection was gone.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from websockets.asyncio.client import ClientConnection, connect

from kernel.wire.gateway import Snapshot
from tests.support.gateway import KEY, deployment_row, replica_row
from tests.support.raw_http import connect as connect_raw
from tests.support.raw_http import request
from tests.support.realtime import EARS, MIND, VOICE, said, session, three
from tests.support.scripted_worker import chunk, stream_head
from tests.support.workers_routes import BODIES
from tests.unit.inference import sse

SECONDS_MAX = 30.0
TRICKLE_SECONDS = 0.005
UPLOAD_BYTES = 300_000  # of which half is sent
MODEL = "witness"
NS = 1_000_000_000
MARK = re.compile(rb"mark-(\w+)-(\d+)-end")
# What a stream of each path first says of its content; the others are not read closely.
FIRST = {
    b"/v1/responses": sse.event({"type": "response.output_text.delta", "delta": "Hel"}),
    b"/v1/messages": sse.event({"type": "content_block_delta", "delta": {"text": "Hel"}}),
}
SPOKEN = b"HTTP/1.1 200 OK\r\ncontent-type: audio/pcm\r\ntransfer-encoding: chunked\r\n\r\n"
PLAIN = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 3000000\r\n\r\n{"
FORM_PATHS = ("/v1/audio/transcriptions", "/v1/audio/translations")
POSTS = (
    *("/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses"),
    *("/v1/messages", "/v1/messages/count_tokens", "/v1/rerank", "/v2/rerank", "/v1/score"),
    *("/v1/images/generations", "/v1/audio/speech", *FORM_PATHS),
)
SOCKETS = ("/v1/audio/transcriptions/stream", "/v1/audio/speech/stream", "/v1/realtime")
# Before the first byte, after it, in the middle of a stream, in a long plain answer, while the
# request itself is still on its way, and in the second leg of a turn.
EARLY, BEGUN, STREAM, WHOLE, UPLOAD, VOICED = "early", "begun", "stream", "whole", "upload", "voice"


def stages(path: str) -> tuple[str, ...]:
    """Those that there are on a route."""
    if path == "/v1/realtime":
        return EARLY, BEGUN, VOICED
    if path in SOCKETS:
        return EARLY, BEGUN, STREAM
    if path == "/v1/messages/count_tokens":
        return EARLY, WHOLE
    if path in FORM_PATHS:
        return EARLY, BEGUN, STREAM, UPLOAD
    return (EARLY, BEGUN, STREAM) if path == "/v1/audio/speech" else (EARLY, BEGUN, STREAM, WHOLE)


@dataclass
class Witness:
    """``seen`` and ``gone``: when each mark came, and when its connection ended (monotonic)."""

    port: int = 0
    seen: dict[int, int] = field(default_factory=dict)
    gone: dict[int, int] = field(default_factory=dict)
    _open: set[asyncio.Task[None]] = field(default_factory=set)
    _trickles: dict[asyncio.StreamWriter, asyncio.Task[None]] = field(default_factory=dict)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server runs it in a task"
        self._open.add(task)
        read, number = b"", -1
        try:
            while part := await reader.read(1 << 16):
                read += part
                if number < 0 and (found := MARK.search(read)):
                    stage, number = found[1].decode(), int(found[2])
                    self.seen[number] = time.monotonic_ns()
                    path = read.split(b" ", 2)[1]
                    if self._behave(path, stage, number, writer):
                        read, number = b"", -1  # answered to the end: it keeps the connection
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            if number >= 0:
                self.gone[number] = time.monotonic_ns()
            self._open.discard(task)
            if trickle := self._trickles.pop(writer, None):
                trickle.cancel()
            writer.transport.abort()

    def _behave(self, path: bytes, stage: str, number: int, writer: asyncio.StreamWriter) -> bool:
        """True when the answer was whole."""
        if stage == VOICED and path == b"/v1/chat/completions":
            words = sse.chunk({"content": f"Say mark-stream-{number}-end now. And"})
            writer.write(stream_head() + chunk(words + sse.STOP + sse.DONE) + chunk(b""))
            return True
        if stage in (EARLY, UPLOAD):
            return False
        speaks = path == b"/v1/audio/speech"
        first = bytes(4800) if speaks else FIRST.get(path, sse.HELLO)
        if stage == WHOLE:
            writer.write(PLAIN + b" " * 200_000)
            return False
        writer.write((SPOKEN if speaks else stream_head()) + chunk(first))
        if stage == STREAM:
            self._trickles[writer] = asyncio.ensure_future(_trickle(writer, chunk(first)))
        return False

    def close(self) -> None:
        for task in list(self._open):
            task.cancel()


async def _trickle(writer: asyncio.StreamWriter, piece: bytes) -> None:
    while True:
        await asyncio.sleep(TRICKLE_SECONDS)
        writer.write(piece)


@asynccontextmanager
async def witness(port: int = 0) -> AsyncIterator[Witness]:
    """One at this or a free port, for as long as the block lasts."""
    one = Witness()
    server = await asyncio.start_server(one.serve, "127.0.0.1", port, backlog=1024)
    one.port = server.sockets[0].getsockname()[1]
    try:
        yield one
    finally:
        server.close()
        one.close()


def tables(port: int) -> Snapshot:
    """A gateway's snapshot: each model stands for a deployment at the witness."""
    made = three(port, port, port)
    made.deployments.append(deployment_row(MODEL, 4))
    made.replicas.append(replica_row(port, 4, 4))
    for row in made.replicas:
        row.upstream_model = ""
    return made


class Leaver:
    """``leave`` once: ask, wait for the stage, hang up; nanoseconds until the worker saw it."""

    def __init__(self, gateway_port: int, seen_by: Witness) -> None:
        self._port = gateway_port
        self._witness = seen_by
        self._number = 0

    async def leave(self, path: str, stage: str) -> int:
        self._number += 1
        number = self._number
        mark = f"mark-{stage}-{number}-end"
        how = self._by_socket if path in SOCKETS else self._by_post
        try:
            async with asyncio.timeout(SECONDS_MAX):
                left_ns = await how(path, stage, mark, number)
                await self._until(lambda: number in self._witness.gone)
        except TimeoutError:
            begun = "begun by" if number in self._witness.seen else "not given to"
            raise AssertionError(f"{path} {stage}: {begun} the worker, no hang-up seen") from None
        return self._witness.gone[number] - left_ns

    async def _by_post(self, path: str, stage: str, mark: str, number: int) -> int:
        async with connect_raw(self._port) as raw:
            whole = _form(path, mark) if path in FORM_PATHS else _post(path, stage, mark)
            await raw.send(whole[: len(whole) // 2] if stage == UPLOAD else whole)
            if stage in (EARLY, UPLOAD):
                await self._until(lambda: number in self._witness.seen)
            else:
                assert (await raw.head())[0] == 200
            if stage == STREAM:
                await raw.reader.readuntil(b"\r\n")
            return time.monotonic_ns()

    async def _by_socket(self, path: str, stage: str, mark: str, number: int) -> int:
        headers = {"authorization": f"Bearer {KEY}"}
        url = f"ws://127.0.0.1:{self._port}{path}?{_QUERIES[path].format(mark)}"
        async with connect(url, additional_headers=headers, close_timeout=0.1) as socket:
            await _BEGIN[path](socket, mark)
            await self._until(lambda: number in self._witness.seen)
            if stage != EARLY:
                await _until_word(socket, ".output_audio.delta" if stage == VOICED else ".delta")
            left_ns = time.monotonic_ns()
            socket.transport.abort()
            return left_ns

    async def _until(self, check: Callable[[], bool]) -> None:
        while not check():
            await asyncio.sleep(0.001)


def _post(path: str, stage: str, mark: str) -> bytes:
    asked = BODIES.get(path) or BODIES["/v1/messages"]
    body = {"model": MODEL, **asked, "stream": stage != WHOLE, "user": mark}
    return request(json.dumps(body).encode(), key=KEY, path=path)


def _form(path: str, mark: str) -> bytes:
    fields = {"model": MODEL, "stream": "true", "prompt": mark}
    parts = [
        f'--XXb\r\ncontent-disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in fields.items()
    ]
    file = '--XXb\r\ncontent-disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    content = ("".join(parts) + file).encode() + bytes(UPLOAD_BYTES) + b"\r\n--XXb--\r\n"
    return request(content, "content-type: multipart/form-data; boundary=XXb", key=KEY, path=path)


async def _dictate(socket: ClientConnection, mark: str) -> None:
    await socket.send(said())


async def _read_out(socket: ClientConnection, mark: str) -> None:
    await socket.send(json.dumps({"type": "input_text.append", "text": f"Say {mark} now. And"}))


async def _converse(socket: ClientConnection, mark: str) -> None:
    content = [{"type": "input_text", "text": mark}]
    item = {"type": "message", "role": "user", "content": content}
    for event in (
        {"type": "session.update", "session": session()},
        {"type": "conversation.item.create", "item": item},
        {"type": "response.create"},
    ):
        await socket.send(json.dumps(event))


async def _until_word(socket: ClientConnection, kind: str) -> None:
    """Until something of what the worker said has come."""
    while True:
        message = await socket.recv()
        if isinstance(message, bytes) or json.loads(message)["type"].endswith(kind):
            return


_QUERIES = {
    SOCKETS[0]: f"model={EARS}&prompt={{}}",
    SOCKETS[1]: f"model={VOICE}",
    SOCKETS[2]: f"model={MIND}",
}
_BEGIN: dict[str, Callable[[ClientConnection, str], Awaitable[None]]] = {
    SOCKETS[0]: _dictate,
    SOCKETS[1]: _read_out,
    SOCKETS[2]: _converse,
}
