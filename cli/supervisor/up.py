"""One run of the product: held home, signals, parts kept running, everything stopped at the end."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path

from cli.embedded import DatabaseUnusable
from cli.embedded.valkey import QueueUnusable
from cli.faults import CliError
from cli.settings import RunnerSettings
from cli.supervisor.display import Display
from cli.supervisor.environment import Layout
from cli.supervisor.home import Home
from cli.supervisor.parts import Exit, Part
from cli.supervisor.plan import STOP_ORDER, Plan
from cli.supervisor.seeds import Seeds
from cli.supervisor.start import Ready, Start, admin_maker, lay_out
from kernel.clock import NS, Clock

STOPPED_EARLY = 130
# A service manager tells a whole group, and make passes it on: that is one wish, not impatience.
SAME_WISH_NS = NS
FAULTS = (BaseExceptionGroup, CliError, DatabaseUnusable, QueueUnusable, OSError)


class Supervisor:
    """``run`` returns the exit code after everything is stopped. One use."""

    def __init__(self, settings: RunnerSettings, display: Display, clock: Clock) -> None:
        self._settings = settings
        self._display = display
        self._clock = clock
        self._home = Home(settings.home)
        self._parts: dict[str, Part] = {}
        self._stop = asyncio.Event()
        self._looping: Exit | None = None
        self._gives_up = asyncio.Event()
        self._phase = "starting"
        self._layout: Layout | None = None
        self._afterwards: Callable[[], Awaitable[None]] = _nothing

    async def run(self, ready: Callable[[Ready], None]) -> int:
        """Start, tell ``ready``, wait for SIGINT or SIGTERM, stop. Raises ``CliError``."""
        with self._home.held(), Signals(self._stop, self._kill_all, self._clock):
            try:
                found = await self._unless_stopped()
                if found is None:
                    return STOPPED_EARLY
                self._tell("up")
                self._display.quiet()
                ready(found)
                await self._afterwards()
                await self._stop.wait()
                return 0
            except FAULTS as problem:
                words = [await part.last_words() for part in self._parts.values()]
                raise _sentence(problem, self._home.folder, "".join(words)) from None
            finally:
                self._display.quiet()
                await self._stop_all()
                self._home.forget_state()

    async def _unless_stopped(self) -> Ready | None:
        """The start's result; None when a signal came first; an error when a part keeps dying."""
        starting = asyncio.create_task(self._start())
        stopping = asyncio.create_task(self._stop.wait())
        giving_up = asyncio.create_task(self._gives_up.wait())
        try:
            await asyncio.wait((starting, stopping, giving_up), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                return starting.result()
            starting.cancel()
            await asyncio.gather(starting, return_exceptions=True)
        finally:
            stopping.cancel()
            giving_up.cancel()
        if self._looping is not None:
            log = self._home.logs / f"{self._looping.part}.log"
            raise CliError(f"{self._looping}.", f"Its log says more: {log}", code="crash")
        return None

    async def _start(self) -> Ready:
        layout = lay_out(self._settings, self._home)
        self._layout = layout
        plan = Plan(
            layout,
            secrets=self._home.secrets(),
            logs=self._home.logs,
            clock=self._clock,
            exited=self._on_exit,
            began=lambda: self._tell(self._phase),
        )
        seeds = Seeds(layout, self._home, self._clock, admin_maker(plan, self._home))
        start = Start(
            self._settings,
            plan,
            seeds,
            layout=layout,
            display=self._display,
            clock=self._clock,
            add=self._add,
            drop=self._drop,
        )
        self._afterwards = start.afterwards
        return await start.run()

    async def _add(self, part: Part) -> None:
        self._parts[part.name] = part
        await part.start()

    async def _drop(self, name: str) -> None:
        part = self._parts.pop(name, None)
        if part is not None:
            await part.stop()

    def _on_exit(self, ended: Exit) -> None:
        if self._stop.is_set():
            return
        self._display.warn(f"{ended}; starting it again.")
        if ended.loops and self._phase != "up":
            self._looping = ended
            self._gives_up.set()
        elif ended.loops:
            log = self._home.logs / f"{ended.part}.log"
            self._display.warn(
                f"{ended.part} keeps stopping ({ended.quick} times in a row); see {log}"
            )

    def _tell(self, phase: str) -> None:
        """Write down what runs, for ``status`` and for a second start."""
        self._phase = phase
        if self._layout is None:
            return
        parts = {
            name: {"pid": part.pid, "starts": part.starts, "log": str(part.log_place)}
            for name, part in self._parts.items()
        }
        shown = {
            "pid": os.getpid(),
            "phase": phase,
            "brain_url": self._layout.brain_url,
            "gateway_url": self._layout.gateway_url,
            "embedded_database_url": (
                "" if self._settings.database_url else self._layout.database_url
            ),
            "parts": parts,
        }
        try:
            self._home.tell_state(shown)
        except OSError as problem:
            self._display.warn(f"The state file cannot be written: {problem.strerror}.")

    async def _stop_all(self) -> None:
        if not self._parts:
            return
        began = self._clock.monotonic_ns()
        for group in STOP_ORDER:
            found = [self._parts[name] for name in group if name in self._parts]
            await asyncio.gather(*(part.stop() for part in found), return_exceptions=True)
        took = (self._clock.monotonic_ns() - began) / NS
        self._display.say(f"[dim]Stopped in {took:.1f} s.[/]")

    def _kill_all(self) -> None:
        for part in self._parts.values():
            part.kill()


class Signals:
    """SIGINT, SIGTERM and SIGHUP ask for a stop; one more, later, kills the children at once."""

    def __init__(self, stop: asyncio.Event, kill: Callable[[], None], clock: Clock) -> None:
        self._stop = stop
        self._kill = kill
        self._clock = clock
        self._first_ns = 0
        self._numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __enter__(self) -> None:
        for number in self._numbers:
            asyncio.get_running_loop().add_signal_handler(number, self._got)

    def __exit__(self, *_: object) -> None:
        for number in self._numbers:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _got(self) -> None:
        now_ns = self._clock.monotonic_ns()
        if not self._stop.is_set():
            self._first_ns = now_ns
            self._stop.set()
        elif now_ns - self._first_ns > SAME_WISH_NS:
            self._kill()


async def _nothing() -> None:
    return


def _sentence(problem: BaseException, folder: Path, words: str) -> BaseException:
    """What to say about a failed start; what nobody expected stays as it is. ``words`` are the
    last that the parts said: a full disk has many faces, and one name."""
    if isinstance(problem, BaseExceptionGroup):
        return _sentence(problem.exceptions[0], folder, words)
    if not isinstance(problem, FAULTS):
        return problem
    told = str(problem) if isinstance(problem, CliError) else f"{problem}{words}"
    full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
    if full or os.strerror(errno.ENOSPC) in told:
        return CliError(
            f"The disk of {folder} is full.",
            "Free some space, or set GANGLION_HOME to a folder on another disk.",
            code="disk_full",
        )
    if isinstance(problem, CliError):
        return problem
    return CliError(str(problem), f"The logs say more: {folder / 'logs'}")
