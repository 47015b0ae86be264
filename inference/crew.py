"""One gateway as several processes, one a core: ``python -m inference.crew``, ``ganglion gateway``.

The parent opens a listening socket for each place with ``SO_REUSEPORT`` and keeps it open, so that
what a client asked while one process follows another lies in the kernel's queue and is not lost.
SIGHUP replaces the processes one after the other: the next serves before the last one drains.
"""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field

import structlog

from inference.door import Doors, Given, arguments_of, open_doors, read_arguments
from inference.process import load, log_json, serve
from inference.settings import Settings, read
from kernel.clock import NS, Clock, SystemClock
from kernel.errors import GanglionError

READY_SECONDS_MAX = 60.0
AGAIN_SECONDS = (0.2, 1.0, 5.0, 15.0)  # before a process is started again, by deaths in a row
STEADY_NS = 60 * NS  # a process that lived so long did not die of its start
END_SECONDS = 5.0  # more than it may need to drain and to ship


@dataclass(eq=False)
class Member:
    """One process. ``ready`` is set once it serves; ``line`` ends when either side does."""

    place: int
    number: int  # 0 to twice the processes: two of a place may live at the same time
    process: asyncio.subprocess.Process
    line: socket.socket
    began_ns: int
    ready: asyncio.Future[bool] = field(default_factory=asyncio.Future)
    dismissed: bool = False

    def heard(self) -> None:
        """The process wrote that it serves, or ended."""
        said = self.line.recv(1)
        asyncio.get_running_loop().remove_reader(self.line)
        if not self.ready.done():
            self.ready.set_result(bool(said))

    def over(self) -> None:
        """It ended. May be repeated."""
        if self.line.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self.line)
            self.line.close()
        if not self.ready.done():
            self.ready.set_result(False)


class Crew:
    """``serve`` returns once every process has ended; ``stop`` and ``renew`` come from signals."""

    def __init__(self, settings: Settings, given: Given, clock: Clock) -> None:
        self.failed = False
        self._settings = settings
        self._given = given
        self._clock = clock
        self._count = settings.processes
        self._doors: list[Doors] = []
        self._now: dict[int, Member] = {}
        self._alive: set[Member] = set()  # those of a place, the next one, and those that leave
        self._leaving: set[asyncio.Task[None]] = set()
        self._stop = asyncio.Event()
        self._renewing = asyncio.Lock()
        self._log = structlog.get_logger("inference.crew")

    def stop(self) -> None:
        self._stop.set()

    def renew(self) -> None:
        """Replace every process, one after the other."""
        self._later(self._renew())

    async def serve(self) -> None:
        """Raises ``OSError`` where a port cannot be had."""
        self._doors = open_doors(self._settings)
        try:
            begun = [await self._start(place, place) for place in range(self._count)]
            self._now = {member.place: member for member in begun}
            if not all([await self._serves(member) for member in begun]):
                self.failed = True  # its own sentence is on standard error
                return
            port = self._doors[0].clients.getsockname()[1]
            self._log.info("serving", processes=self._count, port=port)
            keeping = [asyncio.create_task(self._keep(place)) for place in range(self._count)]
            await self._stop.wait()
            for task in keeping:
                task.cancel()
            await asyncio.gather(*keeping, return_exceptions=True)
        finally:
            await self._end()

    async def _keep(self, place: int) -> None:
        """Start a process that died again, later each time that it died soon."""
        deaths = 0
        while True:
            member = self._now[place]
            status = await member.process.wait()
            if self._now[place] is not member:
                continue  # it made room for another
            steady = self._clock.monotonic_ns() - member.began_ns > STEADY_NS
            deaths = 1 if steady else deaths + 1
            self._over(member)
            self._log.error("process_died", place=place, status=status, again=deaths)
            await self._clock.sleep(AGAIN_SECONDS[min(deaths, len(AGAIN_SECONDS)) - 1])
            async with self._renewing:
                if self._now[place] is member:
                    self._now[place] = await self._start(place, member.number)

    async def _renew(self) -> None:
        async with self._renewing:
            for place in range(self._count):
                if self._stop.is_set():
                    return
                old = self._now[place]
                new = await self._start(place, (old.number + self._count) % (2 * self._count))
                if not await self._serves(new):
                    if not self._stop.is_set():
                        self._log.error("renewal_failed", place=place)
                    self._dismiss(new)
                    return
                self._now[place] = new
                self._dismiss(old)
        self._log.info("renewed", processes=self._count)

    async def _start(self, place: int, number: int) -> Member:
        ours, theirs = socket.socketpair()
        doors = self._doors[place]
        arguments = arguments_of(self._given, doors, theirs)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "inference.app", *arguments),
            env=os.environ | self._settings.of_process(number),
            pass_fds=[door.fileno() for door in (*doors.all(), theirs)],
        )
        theirs.close()
        ours.setblocking(False)
        member = Member(place, number, process, ours, self._clock.monotonic_ns())
        self._alive.add(member)
        asyncio.get_running_loop().add_reader(ours, member.heard)
        if self._stop.is_set():  # it came while this one was started
            self._dismiss(member)
        return member

    async def _serves(self, member: Member) -> bool:
        try:
            async with asyncio.timeout(READY_SECONDS_MAX):
                return await asyncio.shield(member.ready)
        except TimeoutError:
            return False

    def _dismiss(self, member: Member) -> None:
        """May be repeated; returns at once."""
        if not member.dismissed:
            member.dismissed = True
            self._later(self._leave(member))

    async def _leave(self, member: Member) -> None:
        """Let it drain and ship; at last kill it."""
        if member.process.returncode is None:
            member.process.terminate()
        most = self._settings.gateway_drain_seconds + self._settings.gateway_flush_seconds
        try:
            async with asyncio.timeout(most + END_SECONDS):
                await member.process.wait()
        except TimeoutError:
            member.process.kill()
            await member.process.wait()
        self._over(member)

    def _over(self, member: Member) -> None:
        self._alive.discard(member)
        member.over()

    def _later(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)

    async def _end(self) -> None:
        """Also of a renewal that goes on: the member that it starts just now is let go as well."""
        self._stop.set()
        for member in list(self._alive):
            self._dismiss(member)
        while self._leaving:
            await asyncio.wait(self._leaving)
        for doors in self._doors:
            doors.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status."""
    given = read_arguments(arguments)
    settings = load(read, **given.settings())
    if settings.processes == 1:
        from inference.app import run  # the parent of several carries none of it

        return run(settings, given)
    log_json()
    try:
        settings.check_several()
        return asyncio.run(_run(Crew(settings, given, SystemClock())))
    except (OSError, GanglionError) as error:
        sys.stderr.write(f"The gateway cannot start: {error}\n")
        return 1


async def _run(crew: Crew) -> int:
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, crew.renew)
    await serve(crew)
    return 1 if crew.failed else 0


if __name__ == "__main__":
    sys.exit(main())
