"""A server inside the "pod", and clients that ask for it by name, for tests of its front."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator

import httpx

from tests.support.pod_front import PodFront

HOST = "Host: mypod-8000.localhost"


def request(line: str, *headers: str, body: bytes = b"") -> bytes:
    return "\r\n".join((line, HOST, *headers)).encode() + b"\r\n\r\n" + body


async def head_of(reader: asyncio.StreamReader) -> bytes:
    return await reader.readuntil(b"\r\n\r\n")


async def mirror(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers each request with its own head, and counts and digests its body."""
    while head := await next_head(reader):
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


async def next_head(reader: asyncio.StreamReader) -> bytes:
    try:
        return await head_of(reader)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


async def _body(reader: asyncio.StreamReader, head: bytes) -> AsyncIterator[bytes]:
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


def client(front: PodFront) -> httpx.AsyncClient:
    return httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{front.port}",
        headers={"host": front.host()},
        timeout=60,
    )
