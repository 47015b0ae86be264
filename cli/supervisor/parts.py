"""One part of the product as a child: started, watched, started again with patience, stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from cli.embedded import child
from cli.supervisor.logs import LogFile, pump
from kernel.clock import NS, Clock

BACK_OFF_SECONDS = (0.2, 0.5, 1.0, 2.0, 5.0, 10.0)
STABLE_SECONDS = 30.0
LOOP_EXITS = 4
Signals = Sequence[tuple[signal.Signals, float]]


def back_off(exits: int) -> float:
    """Seconds to wait before the start after this many quick exits in a row."""
    assert exits >= 1, "asked after an exit"
    return BACK_OFF_SECONDS[min(exits, len(BACK_OFF_SECONDS)) - 1]


@dataclass(frozen=True)
class Exit:
    """How a part ended. ``quick`` counts exits in a row that came before it was stable."""

    part: str
    code: int
    last_line: str
    quick: int

    @property
    def loops(self) -> bool:
        return self.quick >= LOOP_EXITS

    def __str__(self) -> str:
        how = f"signal {-self.code}" if self.code < 0 else f"exit code {self.code}"
        said = f": {self.last_line}" if self.last_line else ""
        return f"{self.part} stopped ({how}){said}"


Launch = Callable[[Callable[[asyncio.subprocess.Process], None]], Awaitable[object]]


@dataclass
class Part:
    """``launch`` starts the child, hands its process over as soon as it is there, and returns
    when the part can be used as far as it knows itself. ``began`` is called at each start."""

    name: str
    launch: Launch
    log_place: Path
    clock: Clock
    exited: Callable[[Exit], None]
    began: Callable[[], None] = lambda: None
    stop_signals: Signals = ((signal.SIGTERM, 3.0),)
    process: asyncio.subprocess.Process | None = field(default=None, init=False)
    starts: int = field(default=0, init=False)
    _started: asyncio.Event = field(default_factory=asyncio.Event, init=False)
    _task: asyncio.Task[None] | None = field(default=None, init=False)
    _stopping: bool = field(default=False, init=False)
    _pumps: set[asyncio.Task[None]] = field(default_factory=set, init=False)
    _log: LogFile | None = field(default=None, init=False)

    async def start(self) -> None:
        """Begin to keep it running; returns after its first start. Raises what that raised."""
        assert self._task is None, "started once"
        self._log = LogFile(self.log_place)
        self._task = asyncio.create_task(self._keep(), name=f"keep {self.name}")
        first = asyncio.create_task(self._started.wait())
        await asyncio.wait({self._task, first}, return_when=asyncio.FIRST_COMPLETED)
        first.cancel()
        if self._task.done():
            self._task.result()

    async def stop(self) -> None:
        """Stop it for good. May be repeated, and called at any time after ``start``."""
        self._stopping = True
        if self.process is not None:
            await child.stop(self.process, self.stop_signals)
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, *self._pumps, return_exceptions=True)
        if self._log is not None:
            self._log.close()
            self._log = None

    def kill(self) -> None:
        """End it at once and for good; ``stop`` is to follow. Safe in a signal's handler."""
        self._stopping = True
        if self.pid is not None:
            with suppress(ProcessLookupError):  # it has just ended by itself
                os.kill(self.pid, signal.SIGKILL)

    async def last_words(self) -> str:
        """What it said last in this run: all of that, where it has ended."""
        if self.pid is None and self._pumps:
            await asyncio.wait(set(self._pumps), timeout=1)
        return self._log.tail if self._log is not None else ""

    @property
    def pid(self) -> int | None:
        running = self.process is not None and self.process.returncode is None
        return self.process.pid if self.process is not None and running else None

    def _attach(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        if process.stdout is not None and self._log is not None:
            task = asyncio.create_task(pump(process.stdout, self._log))
            self._pumps.add(task)
            task.add_done_callback(self._pumps.discard)
        self.began()

    async def _keep(self) -> None:
        quick = 0
        while not self._is_stopping():
            began = self.clock.monotonic_ns()
            self.starts += 1
            code, why = await self._run_once()
            if self._is_stopping():
                return
            stable = self.clock.monotonic_ns() - began > STABLE_SECONDS * NS
            quick = 1 if stable else quick + 1
            last_line = self._log.last_line if self._log is not None else ""
            self.exited(Exit(self.name, code, why or last_line, quick))
            await self.clock.sleep(back_off(quick))

    def _is_stopping(self) -> bool:
        return self._stopping

    async def _run_once(self) -> tuple[int, str]:
        """From start to end: the exit code, and why a start anew failed where it did. A failed
        first start is raised to ``start``."""
        try:
            await self.launch(self._attach)
        except Exception as problem:
            if not self._started.is_set():
                raise
            return 1, f"{type(problem).__name__}: {problem}"
        self._started.set()
        assert self.process is not None, "launch hands the process over"
        code = await self.process.wait()
        if self._pumps:
            await asyncio.wait(set(self._pumps), timeout=1)
        return code, ""
