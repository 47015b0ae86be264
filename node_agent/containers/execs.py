"""A program beside the work, in its container: Docker's exec with its stream taken over.

The SDK hands out a socket whose first bytes its own reader may have swallowed; so the stream is
opened here, over asyncio, which also carries the back-pressure both ways.
"""

from __future__ import annotations

import asyncio
import os
from asyncio import StreamReader, StreamWriter
from contextlib import suppress
from pathlib import Path
from signal import SIGHUP, SIGKILL, Signals
from typing import Any
from urllib.parse import urlsplit

from docker.errors import APIError, NotFound

from kernel.clock import Clock
from node_agent.containers.client import Connection, words
from node_agent.engine import EngineAway, StartRefused
from node_agent.processes import session_of
from node_agent.records import Work

STREAM_BYTES_MAX = 64 * 1024
OPEN_SECONDS_MAX = 10.0
BEGIN_SECONDS_MAX = 10.0
END_SECONDS_MAX = 5.0
HANGUP_SECONDS_MAX = 0.5
POLL_SECONDS = 0.05
ENDED = (404, 409)
NO_TERMINAL = (*ENDED, 500)  # 500: it has ended, or runc has not opened its terminal yet
_PROC = Path("/proc")


class DockerExec:
    """One exec. Its process leads a session of its own in the container."""

    def __init__(
        self,
        connection: Connection,
        exec_id: str,
        container: str,
        streams: tuple[StreamReader, StreamWriter],
        clock: Clock,
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._id = exec_id
        self._container = container
        self.reader, self.writer = streams
        self._closed = False

    async def resize(self, columns: int, rows: int) -> bool:
        return await asyncio.to_thread(self._resize, columns, rows)

    async def signal(self, name: str) -> None:
        number = Signals.__members__.get(f"SIG{name}")
        if number is not None:
            await self._send(number)

    async def exit_code(self) -> int | None:
        seen = await asyncio.to_thread(self._inspect)
        return None if seen is None else seen.get("ExitCode")

    async def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self.writer.close()
        with suppress(EngineAway):
            for number in (SIGHUP, SIGKILL):
                if not await self._send(number):
                    break
                await self._ended(HANGUP_SECONDS_MAX if number is SIGHUP else END_SECONDS_MAX)
        with suppress(OSError):
            await self.writer.wait_closed()

    async def _ended(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while await self.exit_code() is None:
                    await self._clock.sleep(POLL_SECONDS)

    def _resize(self, columns: int, rows: int) -> bool:
        with self._connection.talk() as api:
            try:
                api.exec_resize(self._id, height=rows, width=columns)
            except APIError as error:
                if error.status_code not in NO_TERMINAL:
                    raise
                return False
            return True

    def _inspect(self) -> dict[str, Any] | None:
        with self._connection.talk() as api:
            try:
                return dict(api.exec_inspect(self._id))
            except NotFound:
                return None

    async def _send(self, number: Signals) -> bool:
        """Signal the program and all of its session; False when it does not run."""
        pid = await self._pid()
        return bool(pid) and await asyncio.to_thread(self._kill, pid, number)

    async def _pid(self) -> int:
        """The program's on this host, or 0 when it has ended. Docker tells that one runs a moment
        after it began: its first output may be here before."""
        with suppress(TimeoutError):
            async with asyncio.timeout(BEGIN_SECONDS_MAX):
                while (seen := await asyncio.to_thread(self._inspect)) is not None:
                    if seen.get("ExitCode") is not None:
                        break
                    if seen.get("Running") and seen.get("Pid"):
                        return int(seen["Pid"])
                    await self._clock.sleep(POLL_SECONDS)
        return 0

    def _kill(self, pid: int, number: Signals) -> bool:
        if self._container not in _cgroup(pid):
            return False  # not of this host's process table, or another's by now
        try:
            for member in _session(pid):
                if self._container in _cgroup(member):
                    with suppress(ProcessLookupError):
                        os.kill(member, number)
        except PermissionError:
            self._send_inside(pid, number)
        return True

    def _send_inside(self, pid: int, number: Signals) -> None:
        """An agent that is not root asks a shell in the container to do it."""
        inner = _inner_pid(pid)
        if not inner:
            return
        line = f"kill -{number.value} -{inner} || kill -{number.value} {inner}"
        with self._connection.talk() as api:
            made = api.exec_create(self._container, ["/bin/sh", "-c", line])
            api.exec_start(made["Id"], detach=True)


async def open_exec(
    connection: Connection,
    work: Work,
    command: list[str],
    *,
    tty: bool,
    env: list[str],
    clock: Clock,
) -> DockerExec:
    """Start it and take its stream; raises ``StartRefused`` or ``EngineAway``."""

    def create() -> str:
        with connection.talk() as api:
            try:
                made = api.exec_create(work.ref, command, stdin=True, tty=tty, environment=env)
            except APIError as error:
                if error.status_code in ENDED:
                    raise StartRefused(f"The container does not run: {words(error)}") from error
                raise
            return str(made["Id"])

    exec_id = await asyncio.to_thread(create)
    try:
        async with asyncio.timeout(OPEN_SECONDS_MAX):
            streams = await _take_over(connection.address, exec_id, tty=tty)
    except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
        raise EngineAway("Docker does not open the shell's stream.", internal=error) from error
    return DockerExec(connection, exec_id, work.ref, streams, clock)


async def _take_over(address: str, exec_id: str, *, tty: bool) -> tuple[StreamReader, StreamWriter]:
    """Docker's HTTP/1.1 upgrade: after the head of the answer the bytes are the program's."""
    url = urlsplit(address)
    opened = (
        asyncio.open_unix_connection(url.path, limit=STREAM_BYTES_MAX)
        if url.scheme == "unix"
        else asyncio.open_connection(url.hostname, url.port, limit=STREAM_BYTES_MAX)
    )
    reader, writer = await opened
    body = b'{"Detach":false,"Tty":%s}' % (b"true" if tty else b"false")
    head = (
        f"POST /exec/{exec_id}/start HTTP/1.1\r\nHost: docker\r\nConnection: Upgrade\r\n"
        f"Upgrade: tcp\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    try:
        writer.write(head.encode() + body)
        await writer.drain()
        answer = await reader.readuntil(b"\r\n\r\n")
        status = int(answer.split(b" ", 2)[1])
        if status not in (101, 200):
            said = (await reader.read(1000)).decode(errors="replace")
            raise StartRefused(f"Docker does not start a shell here: {said.strip()}")
    except BaseException:
        writer.close()
        raise
    return reader, writer


def _session(pid: int) -> list[int]:
    """The processes of the session that this one leads, it itself last."""
    others = [
        int(entry.name)
        for entry in _PROC.iterdir()
        if entry.name.isdigit() and entry.name != str(pid) and session_of(int(entry.name)) == pid
    ]
    return [*others, pid]


def _cgroup(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "cgroup").read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _inner_pid(pid: int) -> int:
    """The pid inside the container's own process table; 0 where that cannot be read."""
    try:
        status = (_PROC / str(pid) / "status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    lines = [line.split() for line in status.splitlines() if line.startswith("NSpid:")]
    return int(lines[0][-1]) if lines else 0
