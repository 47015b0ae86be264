"""The Docker hand: one hardened container a lease, found again by its labels.

The SDK blocks, so each call runs in a thread and has a limit of its own; the calls themselves
are in ``docker_calls``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import ParamSpec, TypeVar

from kernel.clock import NS, Clock
from node_agent.docker_calls import DockerCalls
from node_agent.engine import EngineAway, Order
from node_agent.records import Work
from node_agent.report import Progress

CALL_SECONDS_MAX = 60.0
GIVE_UP_SECONDS_MAX = 60.0
KILL_SECONDS_MAX = 20.0
POLL_SECONDS = 0.2
P = ParamSpec("P")
T = TypeVar("T")


class DockerEngine:
    """Keeps no state of its own: what runs is what the labels say."""

    kind = "docker"

    def __init__(self, calls: DockerCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock

    async def version(self) -> str | None:
        try:
            return await _in_thread(self._calls.version)
        except EngineAway:
            return None

    async def look(self) -> tuple[Work, ...]:
        return await _in_thread(self._calls.listing)

    async def start(self, order: Order, progress: Progress) -> None:
        given_up = threading.Event()
        job = asyncio.ensure_future(asyncio.to_thread(self._calls.start, order, progress, given_up))
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            given_up.set()  # the thread removes what it has made
            await asyncio.wait((job,), timeout=GIVE_UP_SECONDS_MAX)
            if job.done() and not job.cancelled():
                job.exception()
            raise

    async def end(self, work: Work, drain_seconds: float) -> None:
        if await self._stopped(work, "SIGTERM", drain_seconds) is False:
            await self._stopped(work, "SIGKILL", KILL_SECONDS_MAX)
        await _in_thread(self._calls.collect_logs, work)
        await _in_thread(self._calls.remove, work)

    async def collect_logs(self, work: Work) -> None:
        await _in_thread(self._calls.collect_logs, work)

    async def close(self) -> None:
        await asyncio.to_thread(self._calls.close)

    async def _stopped(self, work: Work, signal_name: str, seconds: float) -> bool:
        """Signal it and wait; True when it does not run any more."""
        if not await _in_thread(self._calls.signal, work, signal_name):
            return True
        end_ns = self._clock.monotonic_ns() + int(seconds * NS)
        while await _in_thread(self._calls.running, work):
            if self._clock.monotonic_ns() >= end_ns:
                return False
            await self._clock.sleep(POLL_SECONDS)
        return True


def docker_engine(
    work_home: Path, *, clock: Clock, docker_host: str | None, runtime: str | None
) -> DockerEngine:
    return DockerEngine(DockerCalls(work_home, docker_host=docker_host, runtime=runtime), clock)


async def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        async with asyncio.timeout(CALL_SECONDS_MAX):
            return await asyncio.to_thread(call, *args, **kwargs)
    except TimeoutError:
        raise EngineAway(f"Docker did not answer within {CALL_SECONDS_MAX:.0f} s.") from None
