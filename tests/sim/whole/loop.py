"""An event loop whose time is the world's: what waits for seconds waits for simulated ones."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

from brain.plumbing import Killed
from kernel.clock import NS, ManualClock

T = TypeVar("T")


class Patient(selectors.DefaultSelector):
    """It looks at sockets only when nobody has anything else to do: one system call less for each
    round, and what comes from outside never overtakes what happens in the world."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return []
        found: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        return found


class WorldLoop(asyncio.SelectorEventLoop):
    """It never waits for its own timers: somebody moves the clock, or is about to."""

    def __init__(self, clock: ManualClock) -> None:
        self._world_clock = clock
        super().__init__(Patient())

    def time(self) -> float:
        return self._world_clock.monotonic_ns() / NS

    @property
    def busy(self) -> bool:
        """Can anything run now, beside who asks?"""
        inner: Any = self
        timers = inner._scheduled
        due = timers and timers[0]._when <= self.time() and not timers[0]._cancelled
        return bool(inner._ready or due)


def run_in_world(clock: ManualClock, work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=lambda: WorldLoop(clock)) as runner:
        runner.get_loop().set_exception_handler(_swallow)
        return runner.run(work)


def _swallow(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A dead process's coroutines end with ``Killed``, which nobody waits for."""
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)
