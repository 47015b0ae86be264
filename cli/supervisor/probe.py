"""A health question to a child over HTTP, small enough to ask fifty times a second."""

from __future__ import annotations

import asyncio

SECONDS_MAX = 5.0
ANSWER_MAX = 64 * 1024


async def answers(host: str, port: int, path: str) -> bool:
    """Whether ``GET path`` gives 200 within the deadline; False for every kind of trouble."""
    try:
        return await asyncio.wait_for(_status(host, port, path), SECONDS_MAX) == 200
    except (OSError, TimeoutError, ValueError, EOFError):
        return False


async def _status(host: str, port: int, path: str) -> int:
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(
            f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()
        )
        line = await reader.readline()
        await reader.read(ANSWER_MAX)
        return int(line.split()[1]) if len(line.split()) > 1 else 0
    finally:
        writer.close()
