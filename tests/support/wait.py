"""Waiting for what must come: poll with a deadline, never sleep for luck."""

from __future__ import annotations

import asyncio
import fcntl
import inspect
import os
import random
import socket
import tempfile
import time
from collections import deque
from collections.abc import Awaitable, Callable
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, overload

import httpx

T = TypeVar("T")
SECONDS = 30.0  # many times what anything takes on a machine of its own
QUIET_PORTS = 20_000, 32_000  # below those of connections that programs open
CLAIMED_MAX = 500  # of one process; what it was given before these is in use, or never will be
_chance = random.SystemRandom()  # not the run's seed: its processes must not choose alike
_claimed: deque[int] = deque()


@overload
async def until(
    check: Callable[[], Awaitable[T | None]],
    seconds: float = SECONDS,
    *,
    every: float = 0.02,
    why: str = "",
) -> T: ...
@overload
async def until(
    check: Callable[[], T | None], seconds: float = SECONDS, *, every: float = 0.02, why: str = ""
) -> T: ...
async def until(
    check: Callable[[], object],
    seconds: float = SECONDS,
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
        except (AssertionError, OSError, httpx.TransportError) as problem:
            last = problem
        if time.monotonic() > deadline:
            message = why or getattr(check, "__qualname__", repr(check))
            raise AssertionError(f"not within {seconds} s: {message}") from last
        await asyncio.sleep(every)


def free_port(count: int = 1) -> int:
    """The first of ``count`` ports of the loopback address, one after another, that nobody has just
    now. The kernel gives none of these to a connection that is opened meanwhile, and we give them
    to nobody else of this machine's test processes before they are bound."""
    while True:
        first = _chance.randrange(*QUIET_PORTS)
        try:
            for port in range(first, first + count):
                _claim(port)
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


def _claim(port: int) -> None:
    """``OSError`` where it was given out already. The kernel forgets claims of those that ended."""
    if port in _claimed:
        raise OSError(f"port {port} was given out")
    fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    _claimed.append(port)
    if len(_claimed) > CLAIMED_MAX:
        fcntl.lockf(_claims(), fcntl.LOCK_UN, 1, _claimed.popleft())


@cache
def _claims() -> int:
    """A file whose n-th byte is locked by whom port n was given to."""
    place = Path(tempfile.gettempdir()) / f"ganglion-test-ports-{os.getuid()}"
    return os.open(place, os.O_RDWR | os.O_CREAT, 0o600)


async def stretch(seconds: float) -> None:
    """Let real time pass where the span itself is what is tested: a death, a reader that stops."""
    await asyncio.sleep(seconds)


def pause(seconds: float) -> None:
    """Between two looks of a loop with a deadline, in a thread that has no event loop."""
    time.sleep(seconds)
