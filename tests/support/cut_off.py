"""Cancels a coroutine at one of its awaits: where a client that hangs up, or a stop, finds it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Generator
from typing import Any

AWAITS_MAX = 1000


class CutOff:
    """``await CutOff(coroutine, 3)``: its fourth wait is cancelled, as ``Task.cancel`` would."""

    def __init__(self, work: Awaitable[Any], at: int) -> None:
        self._work = work
        self._at = at

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Any = self._work.__await__()
        go_on, value, waits = step.send, None, 0
        while True:
            try:
                waited_for = go_on(value)
            except StopIteration as done:
                return done.value
            go_on, value = step.send, None
            try:
                if waits == self._at and waited_for is None:
                    raise asyncio.CancelledError
                if waits == self._at:
                    waited_for.cancel()
                yield waited_for
            except BaseException as error:
                go_on, value = step.throw, error
            waits += 1


async def at_every_await(work: Callable[[], Awaitable[Any]]) -> int:
    """Do ``work`` again and again, cut off one await later each time, until it is done; how often
    it was cut off."""
    for at in range(AWAITS_MAX):
        try:
            await CutOff(work(), at)
        except asyncio.CancelledError:
            continue
        return at
    raise AssertionError(f"not done within {AWAITS_MAX} awaits")
