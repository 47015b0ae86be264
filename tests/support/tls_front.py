"""TLS before a plain port of loopback, as nginx ends it in production: for clients that know only
``https`` and ``wss``."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.support.certificates import certificate_in


@dataclass(frozen=True)
class Front:
    """Where it answers, and the certificate that its clients are to trust."""

    url: str
    certificate: Path


@dataclass
class _Open:
    tasks: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(
        self, port: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server runs it in a task"
        self.tasks.add(task)
        back, out = await asyncio.open_connection("127.0.0.1", port)
        try:
            await asyncio.gather(_pump(reader, out), _pump(back, writer))
        except (OSError, asyncio.CancelledError):
            pass
        finally:
            self.tasks.discard(task)
            out.transport.abort()
            writer.transport.abort()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(1 << 16):
        writer.write(part)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def tls_front(port: int, folder: Path) -> AsyncIterator[Front]:
    """Before ``port``, for as long as the block lasts."""
    made = certificate_in(folder)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(made.certificate, made.key)
    opened = _Open()
    server = await asyncio.start_server(partial(opened.serve, port), "127.0.0.1", 0, ssl=context)
    try:
        front = server.sockets[0].getsockname()[1]
        yield Front(f"https://127.0.0.1:{front}", made.certificate)
    finally:
        server.close()
        for task in list(opened.tasks):
            task.cancel()
