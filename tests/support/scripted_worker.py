"""A worker that sends exactly the bytes it is told, for tests where each byte matters."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

WAIT = None  # in a script: hold still until the client goes
CUT = "cut"  # in a script: close the connection here

Script = list[bytes | float | str | asyncio.Event | None]  # an event: hold still until it is set


def answer(body: bytes, *, status: int = 200, kind: str = "application/json") -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


def stream_head() -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    )


def chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)


@dataclass
class ScriptedWorker:
    """``script`` tells what to send for the request with this number (from 0)."""

    script: Callable[[int], Script]
    port: int = 0
    requests: list[bytes] = field(default_factory=list)
    aborted: int = 0
    _open: set[asyncio.Task[None]] = field(default_factory=set)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            while request := await _read_request(reader):
                number = len(self.requests)
                self.requests.append(request)
                if not await self._play(self.script(number), reader, writer):
                    break
        except (ConnectionError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.transport.abort()

    async def _play(
        self, script: Script, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> bool:
        for step in script:
            if isinstance(step, bytes):
                writer.write(step)
                await writer.drain()
            elif isinstance(step, float):
                await asyncio.sleep(step)
            elif isinstance(step, asyncio.Event):
                await step.wait()
            elif step == CUT:
                await writer.drain()
                writer.close()
                return False
            else:
                while await reader.read(1 << 16):  # an upload may still come
                    pass
                self.aborted += 1
                return False
        return True


async def _read_request(reader: asyncio.StreamReader) -> bytes:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length:"):
                return head + await reader.readexactly(int(line[15:]))
        return head
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


@asynccontextmanager
async def scripted_worker(
    script: Callable[[int], Script] | Script,
) -> AsyncIterator[ScriptedWorker]:
    """One at a free port, for as long as the block lasts."""
    chosen = script if callable(script) else lambda _: script
    worker = ScriptedWorker(chosen)
    server = await asyncio.start_server(worker._serve, "127.0.0.1", 0)
    worker.port = server.sockets[0].getsockname()[1]
    try:
        yield worker
    finally:
        server.close()
        for task in list(worker._open):
            task.cancel()
