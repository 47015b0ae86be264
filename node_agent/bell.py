"""A bell that wakes a loop before its pause is over."""

from __future__ import annotations

import asyncio

from kernel.clock import Clock


class Bell:
    """Rings are kept until someone waits; many rings are one."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rung = asyncio.Event()

    def ring(self) -> None:
        self._rung.set()

    async def wait(self, seconds: float) -> bool:
        """Returns at a ring (True), at the latest after ``seconds`` (False)."""
        rung = asyncio.ensure_future(self._rung.wait())
        pause = asyncio.ensure_future(self._clock.sleep(seconds))
        try:
            await asyncio.wait((rung, pause), return_when=asyncio.FIRST_COMPLETED)
            return self._rung.is_set()
        finally:
            rung.cancel()
            pause.cancel()
            self._rung.clear()
