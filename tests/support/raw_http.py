"""A bare TCP client for what no HTTP library would send."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

SECONDS_MAX = 60.0


@dataclass(frozen=True)
class Received:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class RawConnection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, content: bytes) -> None:
        self.writer.write(content)
        await self.writer.drain()

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and headers of the next answer."""
        async with asyncio.timeout(SECONDS_MAX):
            text = (await self.reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = text.strip().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines)
        return int(first.split()[1]), {name.lower(): value for name, value in pairs}

    async def answer(self) -> Received:
        """The next answer, of known length or in chunks."""
        status, headers = await self.head()
        async with asyncio.timeout(SECONDS_MAX):
            if "content-length" in headers:
                body = await self.reader.readexactly(int(headers["content-length"]))
            elif "transfer-encoding" in headers:
                body = await self._chunks()
            else:
                body = b""
        return Received(status, headers, body)

    async def rest(self) -> bytes:
        """All until the other side closes."""
        async with asyncio.timeout(SECONDS_MAX):
            return await self.reader.read()

    async def _chunks(self) -> bytes:
        parts = []
        while size := int(await self.reader.readline(), 16):
            parts.append(await self.reader.readexactly(size))
            await self.reader.readexactly(2)
        await self.reader.readexactly(2)
        return b"".join(parts)


@asynccontextmanager
async def connect(port: int) -> AsyncIterator[RawConnection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield RawConnection(reader, writer)
    finally:
        writer.transport.abort()


def request(
    body: bytes,
    *headers: str,
    key: str,
    path: str = "/v1/chat/completions",
    method: str = "POST",
    version: str = "1.1",
) -> bytes:
    """A whole request with its length."""
    lines = [
        f"{method} {path} HTTP/{version}",
        "host: gateway",
        f"authorization: Bearer {key}",
        f"content-length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body
