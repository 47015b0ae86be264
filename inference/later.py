"""Chunks of streams that are written once all that came in with them was read.

A worker steps all its streams at once, so their chunks come together. What is written meanwhile
stands between a stream's first chunk and its reading; a write costs as much as all else of a chunk.
"""

from __future__ import annotations

import asyncio


class Later:
    """One of a process. What waits is written in the next turn of the loop, in order."""

    __slots__ = ("_loop", "waiting")

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self.waiting: list[tuple[asyncio.Transport, bytes]] = []

    def begin(self) -> None:
        """Something is about to wait, the first of its turn."""
        if self._loop is None:
            self._loop = asyncio.get_running_loop()
        self._loop.call_soon(self.flush)

    def flush(self) -> None:
        waiting, self.waiting = self.waiting, []
        for transport, chunk in waiting:
            if not transport.is_closing():
                transport.write(chunk)


class LateWriter:
    """Of one stream."""

    __slots__ = ("_later", "_transport")

    def __init__(self, later: Later, transport: asyncio.Transport) -> None:
        self._later = later
        self._transport = transport

    def write(self, chunk: bytes) -> None:
        later = self._later
        if not later.waiting:
            later.begin()
        later.waiting.append((self._transport, chunk))
