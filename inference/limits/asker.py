"""Carries the questions of :class:`Limits` to the brain, in the background, many at a time."""

from __future__ import annotations

import asyncio

from inference.brain import Brain
from inference.limits.book import Limits
from kernel.clock import Clock
from kernel.errors import GanglionError
from kernel.wire.limits import ASKS_MAX, LimitsAnswer, LimitsRequest

CALL_SECONDS_MAX = 1.0  # then this process goes on with its share
RETRY_SECONDS = 1.0


class Asker:
    """One question is under way at a time; what is needed meanwhile goes with the next."""

    def __init__(self, limits: Limits, brain: Brain, clock: Clock, boot_id: str) -> None:
        self._limits = limits
        self._brain = brain
        self._clock = clock
        self._boot_id = boot_id
        self._due = asyncio.Event()
        limits.wake = self._due.set
        limits.soon = asyncio.get_running_loop().call_soon  # their faults are not this task's

    async def run(self) -> None:
        limits, clock = self._limits, self._clock
        while True:
            await self._due.wait()
            self._due.clear()
            questions = limits.questions(clock.monotonic_ns())
            if not questions and not limits.without:
                continue
            asks = [ask for _, ask in questions]
            answer: LimitsAnswer | None = None
            try:
                async with asyncio.timeout(CALL_SECONDS_MAX):
                    answer = await self._brain.limits(LimitsRequest(self._boot_id, asks))
            except (GanglionError, TimeoutError):
                pass
            limits.answered(questions, answer, clock.monotonic_ns())
            if limits.without:
                await clock.sleep(RETRY_SECONDS)

    async def farewell(self) -> None:
        """Give back what this process holds, so that others need not wait for it to run out."""
        asks = self._limits.farewell()
        for start in range(0, len(asks), ASKS_MAX):
            request = LimitsRequest(self._boot_id, asks[start : start + ASKS_MAX])
            try:
                async with asyncio.timeout(CALL_SECONDS_MAX):
                    await self._brain.limits(request)
            except (GanglionError, TimeoutError):
                return
