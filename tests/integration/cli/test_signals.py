"""What a run makes of the signals that it gets."""

from __future__ import annotations

import asyncio
import os
import signal

from cli.supervisor.up import SAME_WISH_NS, Signals
from kernel.clock import ManualClock
from tests.support.wait import until


async def test_one_wish_told_twice_is_not_impatience() -> None:
    """A service manager tells the whole group and make passes it on; a person asks again."""
    clock, stop, kills = ManualClock(), asyncio.Event(), list[int]()
    handled = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, handled.set)
    with Signals(stop, lambda: kills.append(clock.monotonic_ns()), clock):
        os.kill(os.getpid(), signal.SIGTERM)
        await until(stop.is_set)
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGUSR1)
        await until(handled.is_set)
        assert kills == []
        clock.advance(ns=SAME_WISH_NS + 1)
        os.kill(os.getpid(), signal.SIGINT)
        await until(lambda: bool(kills))
