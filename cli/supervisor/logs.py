"""A child's output in a file that cannot fill the disk."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

BYTES_MAX = 8 * 1024 * 1024
CHUNK = 64 * 1024
LAST_LINE_MAX = 300


class LogFile:
    """``NAME.log``, and ``NAME.log.1`` for what came before the last ``BYTES_MAX``."""

    def __init__(self, place: Path, *, bytes_max: int = BYTES_MAX) -> None:
        self.place = place
        self._bytes_max = bytes_max
        self._tail = b""
        self._handle, self._size = self._open()

    def write(self, chunk: bytes) -> None:
        """Append. A full disk loses log lines, never a child."""
        if self._size + len(chunk) > self._bytes_max and self._size:
            self._turn()
        try:
            self._size += os.write(self._handle, chunk)
        except OSError:
            self._size = self._bytes_max
        self._tail = (self._tail + chunk)[-4096:]

    @property
    def tail(self) -> str:
        """The last that was said in this run."""
        return self._tail.decode(errors="replace")

    @property
    def last_line(self) -> str:
        """The last line that says something, for a message about a child that stopped."""
        lines = [line.strip() for line in self.tail.splitlines()]
        return next((line for line in reversed(lines) if line), "")[:LAST_LINE_MAX]

    def close(self) -> None:
        os.close(self._handle)

    def _open(self) -> tuple[int, int]:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        handle = os.open(self.place, flags, 0o600)
        return handle, os.fstat(handle).st_size

    def _turn(self) -> None:
        os.close(self._handle)
        self.place.replace(self.place.with_name(self.place.name + ".1"))
        self._handle, self._size = self._open()


async def pump(source: asyncio.StreamReader, log: LogFile) -> None:
    """Copy until the child closes its end. The child never waits for more than a full pipe."""
    while chunk := await source.read(CHUNK):
        log.write(chunk)
