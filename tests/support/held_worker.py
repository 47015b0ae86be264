"""A worker that begins each answer and holds its rest until it is told: for what lasts longer than
something else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from tests.support.scripted_worker import answer, chunk, stream_head
from tests.unit.inference import sse

PLAIN = b'{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}'
TEXT = b'{"text":"written down"}'
AT_ONCE = b"at once"  # in what is asked: the answer is not held


@dataclass
class HeldWorker:
    """Streams say one word, and the rest once ``on`` is set; plain answers come then. A form is
    answered when it is whole, with words in a stream where it asks for one."""

    on: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0
    begun: list[bytes] = field(default_factory=list)  # heads of what came
    _writers: list[asyncio.StreamWriter] = field(default_factory=list)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                self.begun.append(head)
                content = await _body(head.lower(), reader)
                if b"form-data" in head.lower() and b'name="stream"' not in content:
                    writer.write(answer(TEXT))
                elif b'"stream": true' in content or b'name="stream"' in content:
                    writer.write(stream_head() + chunk(sse.HELLO))
                    await self.on.wait()
                    rest = sse.WORLD + sse.STOP + sse.usage() + sse.DONE
                    writer.write(chunk(rest) + chunk(b""))
                else:
                    if AT_ONCE not in content:
                        await self.on.wait()
                    writer.write(answer(PLAIN))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.transport.abort()


async def _body(head: bytes, reader: asyncio.StreamReader) -> bytes:
    if b"transfer-encoding: chunked" not in head:
        return await reader.readexactly(int(head.partition(b"content-length: ")[2].split()[0]))
    parts = []
    while size := int(await reader.readline(), 16):
        parts.append(await reader.readexactly(size))
        await reader.readexactly(2)
    await reader.readexactly(2)
    return b"".join(parts)


@asynccontextmanager
async def held_worker() -> AsyncIterator[HeldWorker]:
    """One at a free port, for as long as the block lasts."""
    worker = HeldWorker()
    server = await asyncio.start_server(worker._serve, "127.0.0.1", 0)
    worker.port = server.sockets[0].getsockname()[1]
    try:
        yield worker
    finally:
        worker.on.set()
        server.close()
        for writer in worker._writers:
            writer.transport.abort()
