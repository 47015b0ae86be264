"""The only reader of machine time. Everything else is handed a ``Clock``."""

from __future__ import annotations

import asyncio
import heapq
import time
from datetime import UTC, datetime
from typing import Protocol

NS = 1_000_000_000


def at_ns(ns: int) -> datetime:
    """A wall clock's nanoseconds as a record's time: UTC, to the microsecond."""
    return datetime.fromtimestamp(ns // NS, UTC).replace(microsecond=ns % NS // 1000)


class Clock(Protocol):
    """Wall time for people and records, monotonic time for durations."""

    def now(self) -> datetime:
        """The wall clock, UTC, with its zone."""
        ...

    def now_ns(self) -> int:
        """The wall clock in nanoseconds since the Unix epoch."""
        ...

    def monotonic_ns(self) -> int:
        """A clock that never goes back and has no fixed zero; for durations only."""
        ...

    async def sleep(self, seconds: float) -> None: ...


class SystemClock:
    """The machine's own time. The integer clocks are the library's functions themselves: the
    gateway reads them several times a request."""

    now_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.monotonic_ns)

    def now(self) -> datetime:
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class ManualClock:
    """Time that moves only when told: for tests and simulations.

    ``advance`` wakes the sleepers whose time has come, in order.
    """

    def __init__(self, start_ns: int = 1_800_000_000 * NS) -> None:
        self._wall_ns = start_ns
        self._monotonic_ns = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._count = 0

    def now(self) -> datetime:
        return at_ns(self._wall_ns)

    def now_ns(self) -> int:
        return self._wall_ns

    def monotonic_ns(self) -> int:
        return self._monotonic_ns

    async def sleep(self, seconds: float) -> None:
        due = self._monotonic_ns + round(seconds * NS)
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._count += 1
        heapq.heappush(self._sleepers, (due, self._count, future))
        await future

    def advance(self, seconds: float = 0, *, ns: int = 0) -> None:
        """Move both clocks forward."""
        step = round(seconds * NS) + ns
        assert step >= 0, "monotonic time does not go back; use set_wall for a clock jump"
        self._wall_ns += step
        self._monotonic_ns += step
        while self._sleepers and self._sleepers[0][0] <= self._monotonic_ns:
            _, _, future = heapq.heappop(self._sleepers)
            if not future.done():
                future.set_result(None)

    def set_wall(self, wall_ns: int) -> None:
        """A jump of the wall clock alone, as NTP or an operator makes it."""
        self._wall_ns = wall_ns
