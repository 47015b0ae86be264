"""Waiting for what must come: poll with a deadline, never sleep for luck."""

from __future__ import annotations

import asyncio
import inspect
import random
import socket
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

T = TypeVar("T")
QUIET_PORTS = 20_000, 32_000  # below those of connections that programs open
_chance = random.SystemRandom()  # not the run's seed: its processes must not choose alike


@overload
async def until(
    check: Callable[[], Awaitable[T | None]],
    seconds: float = 10,
    *,
    every: float = 0.02,
    why: str = "",
) -> T: ...
@overload
async def until(
    check: Callable[[], T | None], seconds: float = 10, *, every: float = 0.02, why: str = ""
) -> T: ...
async def until(
    check: Callable[[], object],
    seconds: float = 10,
    *,
    every: float = 0.02,
    why: str = "",
) -> Any:
    """Call ``check`` until its answer is truthy and return that; AssertionError at the deadline.

    An ``AssertionError`` or a connection error inside ``check`` counts as "not yet"; the last one
    is shown if the deadline passes.
    """
    deadline = time.monotonic() + seconds
    last: BaseException | None = None
    while True:
        try:
            answer = check()
            found = await answer if inspect.isawaitable(answer) else answer
            if found:
                return found
        except (AssertionError, OSError) as problem:
            last = problem
        if time.monotonic() > deadline:
            message = why or getattr(check, "__qualname__", repr(check))
            raise AssertionError(f"not within {seconds} s: {message}") from last
        await asyncio.sleep(every)


def free_port(count: int = 1) -> int:
    """The first of ``count`` ports of the loopback address, one after another, that nobody has just
    now. The kernel gives none of these to a connection that is opened meanwhile."""
    while True:
        first = _chance.randrange(*QUIET_PORTS)
        try:
            for port in range(first, first + count):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


async def stretch(seconds: float) -> None:
    """Let real time pass where the span itself is what is tested: a death, a reader that stops."""
    await asyncio.sleep(seconds)


def pause(seconds: float) -> None:
    """Between two looks of a loop with a deadline, in a thread that has no event loop."""
    time.sleep(seconds)
