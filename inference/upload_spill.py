"""Files without a name for what cannot be sent on yet, written and read beside the event loop."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from kernel.errors import Unavailable

READ_BYTES = 64 * 1024
THREADS = 2
Got = TypeVar("Got")


class Spills:
    """All of one process: how much of the disk they may take together."""

    def __init__(self, folder: Path, bytes_max: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._pool: ThreadPoolExecutor | None = None
        self.used = 0

    def open(self, changed: Callable[[], None], reserve: int = 0) -> Spill:
        """``changed`` is called when something was written, read, or went wrong. With ``reserve``
        the room is taken now, else as it is needed; ``Unavailable`` says that there is none."""
        self.take(reserve)
        if self._pool is None:
            self._pool = ThreadPoolExecutor(THREADS, "uploads")
        return Spill(self, self._pool, changed, reserve)

    def take(self, size: int) -> None:
        """Raises ``Unavailable`` when there is no more room."""
        if self.used + size > self._bytes_max:
            raise Unavailable(
                "Too many uploads wait for the name of their model: send the field model "
                "before the file, or try again.",
                retry_after=5,
            )
        self.used += size

    def make(self) -> int:
        """A new file that only its opener can reach."""
        self._folder.mkdir(parents=True, exist_ok=True)
        try:
            return os.open(self._folder, os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:  # not every file system can
            number, path = tempfile.mkstemp(prefix=".upload-", dir=self._folder)
            os.unlink(path)
            return number


class Spill:
    """One file: appended to at its end, read from anywhere before. One write and one read at a
    time are on their way."""

    def __init__(
        self,
        spills: Spills,
        pool: ThreadPoolExecutor,
        changed: Callable[[], None],
        reserved: int = 0,
    ) -> None:
        self._spills = spills
        self._pool = pool
        self._changed = changed
        self._file = -1
        self._pending: list[bytes] = []
        self._taken = reserved  # of the room
        self._appended = 0
        self._writing = self._reading = self._closed = False
        self._ahead: tuple[int, bytes] | None = None
        self.pending_bytes = 0  # not written yet
        self.written = 0
        self.failed = False

    def append(self, content: bytes) -> None:
        """Raises ``Unavailable`` when the disk has no room for it."""
        more = self._appended + len(content) - self._taken
        if more > 0:
            self._spills.take(more)
            self._taken += more
        self._appended += len(content)
        self._pending.append(content)
        self.pending_bytes += len(content)
        self._write()

    def read(self, at: int) -> bytes:
        """What stands there, once it was fetched; ``changed`` tells when to ask again."""
        ahead, self._ahead = self._ahead, None
        content = b""
        if ahead is not None and ahead[0] == at:
            content = ahead[1]
            at += len(content)
        if not self._reading and not self._closed and at < self.written:
            self._reading = True
            self._run(lambda: os.pread(self._file, READ_BYTES, at), lambda got: self._read(at, got))
        return content

    def close(self) -> None:
        self._closed = True
        self._pending.clear()
        self._ahead = None
        self._end()

    def _write(self) -> None:
        if self._writing or self._closed or not self._pending:
            return
        self._writing = True
        content, self._pending = b"".join(self._pending), []
        self._run(lambda: self._put(content), self._wrote)

    def _put(self, content: bytes) -> int:
        if self._file < 0:
            self._file = self._spills.make()
        at, rest = self.written, memoryview(content)
        while rest:
            done = os.pwrite(self._file, rest, at)
            at, rest = at + done, rest[done:]
        return len(content)

    def _wrote(self, size: int) -> None:
        self._writing = False
        self.written += size
        self.pending_bytes -= size
        self._write()

    def _read(self, at: int, content: bytes) -> None:
        self._reading = False
        self._ahead = at, content

    def _run(self, work: Callable[[], Got], then: Callable[[Got], None]) -> None:
        loop = asyncio.get_running_loop()

        def done(future: asyncio.Future[Got]) -> None:
            if future.exception() is not None:
                self.failed = True
                self._writing = self._reading = False
            else:
                then(future.result())
            if self._closed:
                self._end()
            else:
                self._changed()

        loop.run_in_executor(self._pool, work).add_done_callback(done)

    def _end(self) -> None:
        """Give the room back once nobody is at the file."""
        if self._writing or self._reading:
            return
        self._spills.used -= self._taken
        self._taken = 0
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
