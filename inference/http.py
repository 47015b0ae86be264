"""A small HTTP/1.1 client for what is not the request path: the brain, and workers' model lists.

It keeps no connections and follows no redirects; each call has a time limit.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Mapping
from functools import cache
from urllib.parse import urlsplit

import httptools

BODY_BYTES_MAX = 64 << 20
READ_BYTES = 64 << 10


class BadAnswer(OSError):
    """What came back is not an HTTP answer."""


class _Reader:
    """Collects one answer as the parser finds it."""

    def __init__(self) -> None:
        self.parser = httptools.HttpResponseParser(self)
        self.ready: list[bytes] = []
        self.begun = False
        self.complete = False

    def on_headers_complete(self) -> None:
        self.begun = True

    def on_body(self, part: bytes) -> None:
        self.ready.append(part)

    def on_message_complete(self) -> None:
        self.complete = True

    def feed(self, received: bytes) -> None:
        try:
            self.parser.feed_data(received)
        except httptools.HttpParserError as error:
            raise BadAnswer(f"not an HTTP answer: {error}") from error

    @property
    def status(self) -> int:
        return int(self.parser.get_status_code())


async def call(
    base: str,
    method: str,
    path: str,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    seconds_max: float = 10,
) -> tuple[int, bytes]:
    """One request and its whole answer. Raises ``OSError`` or ``TimeoutError``."""
    async with asyncio.timeout(seconds_max):
        reader, writer = await _send(base, method, path, body=body, headers=headers or {})
        try:
            answer = _Reader()
            size = 0
            async for part in _parts(reader, answer):
                size += len(part)
                if size > BODY_BYTES_MAX:
                    raise BadAnswer("the answer is too long")
                answer.ready.append(part)
            return answer.status, b"".join(answer.ready)
        finally:
            writer.transport.abort()


async def lines(
    base: str,
    path: str,
    *,
    headers: Mapping[str, str],
    connect_seconds_max: float = 10,
    silence_seconds_max: float = 60,
) -> AsyncIterator[bytes]:
    """The lines of an endless answer, as they come. Raises ``OSError`` or ``TimeoutError``."""
    async with asyncio.timeout(connect_seconds_max):
        reader, writer = await _send(base, "GET", path, body=b"", headers=headers)
    try:
        answer = _Reader()
        rest: list[bytes] = []
        async for part in _parts(reader, answer, silence_seconds_max=silence_seconds_max):
            if answer.status != 200:
                raise BadAnswer(f"status {answer.status} on {path}")
            head, newline, tail = part.rpartition(b"\n")
            if not newline:
                rest.append(part)
                continue
            whole = b"".join((*rest, head))
            rest = [tail] if tail else []
            for line in whole.split(b"\n"):
                yield line
        if answer.begun and answer.status != 200:
            raise BadAnswer(f"status {answer.status} on {path}")
    finally:
        writer.transport.abort()


async def _send(
    base: str, method: str, path: str, *, body: bytes, headers: Mapping[str, str]
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    url = urlsplit(base)
    secure = url.scheme == "https"
    port = url.port or (443 if secure else 80)
    host = url.hostname or ""
    reader, writer = await asyncio.open_connection(host, port, ssl=_trusting() if secure else None)
    extra = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    head = (
        f"{method} {url.path.rstrip('/')}{path} HTTP/1.1\r\nhost: {url.netloc}\r\n"
        f"connection: close\r\n{extra}content-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode("latin-1") + body)
    await writer.drain()
    return reader, writer


@cache
def _trusting() -> ssl.SSLContext:
    """Made once: to read all authorities holds the event loop up for tens of milliseconds."""
    return ssl.create_default_context()


async def _parts(
    reader: asyncio.StreamReader, answer: _Reader, *, silence_seconds_max: float = 60
) -> AsyncIterator[bytes]:
    """Body bytes as they come. Raises when the connection ends before the answer does."""
    while not answer.complete:
        async with asyncio.timeout(silence_seconds_max):
            received = await reader.read(READ_BYTES)
        if not received:
            raise BadAnswer("the connection closed early")
        answer.feed(received)
        found, answer.ready = answer.ready, []
        for part in found:
            yield part
