"""The brain's Celery worker: ticks that make the rooms look at their rows.

Run as ``python -m celery -A brain.worker worker -B -P threads``. A task only wakes a tick; ticks
run on one event loop a process, in a thread of its own, and one kind never runs twice at once.
No file is written: the beat's schedule lies in memory.
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import sys
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

import structlog
import uvloop
from celery import Celery
from celery.beat import BeatLazyFunc
from celery.signals import (
    beat_embedded_init,
    setup_logging,
    worker_ready,
    worker_shutdown,
    worker_shutting_down,
)

from brain.deployments import tasks
from brain.edge import logs
from brain.plumbing import Ctx
from brain.plumbing.collector import settle_collector
from brain.plumbing.due import DueRows
from brain.settings import Settings, UnsafeSettings, load
from brain.wiring import WorkerParts, assemble_worker

TICK_SECONDS_MAX = 60
STOP_SECONDS_MAX = 2.0
PR_SET_PDEATHSIG = 1

log = structlog.get_logger(__name__)

Tick = Callable[[], Awaitable[object]]


class Ticker:
    """Runs ticks on a loop of its own. A wake during a run makes one more run follow."""

    def __init__(self, make: Callable[[], WorkerParts], alive: Path | None = None) -> None:
        """``alive`` is touched after each tick that did not fail."""
        self._make = make
        self._alive = alive
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._parts: WorkerParts | None = None
        self._ticks: Mapping[str, Tick] = {}
        self._running: dict[str, asyncio.Task[None]] = {}
        self._again: set[str] = set()
        self.stopping = threading.Event()

    def wake(self, *names: str) -> None:
        """From any thread; returns at once. Starts the loop when it is first called."""
        if self.stopping.is_set():
            return
        with self._lock:
            if self._loop is None:
                self._open()
            assert self._loop is not None, "opened above"
            self._loop.call_soon_threadsafe(self._begin, *names)

    def close(self) -> None:
        """Let running ticks end their step, then stop; two seconds at most."""
        self.stopping.set()
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            return
        ended: Future[None] = asyncio.run_coroutine_threadsafe(self._end(), loop)
        with suppress(TimeoutError):
            ended.result(timeout=STOP_SECONDS_MAX + 0.5)
        loop.call_soon_threadsafe(loop.stop)
        if self._thread is not None:
            self._thread.join(timeout=0.5)

    def _open(self) -> None:
        self._loop = uvloop.new_event_loop()
        self._parts = self._make()
        self._ticks = only_when_due(
            self._parts.ctx, self._parts.ticks(self.stopping.is_set, self._hint)
        )
        self._thread = threading.Thread(target=self._loop.run_forever, name="ticks", daemon=True)
        self._thread.start()

    def _hint(self) -> None:
        self.wake(tasks.DEPLOYMENTS)

    def _begin(self, *names: str) -> None:
        for name in names:
            if name in self._running:
                self._again.add(name)
                continue
            self._again.discard(name)
            task = asyncio.get_running_loop().create_task(self._run(name), name=name)
            self._running[name] = task

    async def _run(self, name: str) -> None:
        try:
            async with asyncio.timeout(TICK_SECONDS_MAX):
                await self._ticks[name]()
            if self._alive is not None:
                self._alive.touch()
        except Exception as failure:  # the next tick tries again
            log.warning(
                "tick_failed", tick=name, failure=type(failure).__name__, detail=str(failure)[:300]
            )
        finally:
            del self._running[name]
        if name in self._again and not self.stopping.is_set():
            self._begin(name)

    async def _end(self) -> None:
        running = list(self._running.values())
        if running:
            await asyncio.wait(running, timeout=STOP_SECONDS_MAX - 0.5)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
        if self._parts is not None:
            await self._parts.close()


def only_when_due(ctx: Ctx, ticks: Mapping[str, Tick]) -> Mapping[str, Tick]:
    """``ticks``, of which those that only step work rows run when one is due."""
    rows = DueRows(ctx, [table for tables in tasks.STEPS.values() for table in tables])

    def looking(tick: Tick, tables: Sequence[str]) -> Tick:
        async def look() -> object:
            return await tick() if await rows.any_in(tables) else None

        return look

    steps = {name: looking(ticks[name], tables) for name, tables in tasks.STEPS.items()}
    return {**ticks, **steps}


def build(settings: Settings) -> tuple[Celery, Ticker]:
    """The Celery application of this process and what its tasks wake."""
    made = tasks.make_celery(settings.redis_url.get_secret_value())
    ticker = Ticker(lambda: assemble_worker(settings), settings.worker_alive_file)
    for name in tasks.CADENCE_SECONDS:
        made.task(name=name, ignore_result=True)(_waker(ticker, name))
    made.task(name=tasks.TICKS, ignore_result=True)(_waker_of_several(ticker))
    beats = count(1)
    made.conf.beat_scheduler = "celery.beat:Scheduler"
    made.conf.beat_max_loop_interval = 1
    made.conf.beat_schedule = {
        tasks.TICKS: {
            "task": tasks.TICKS,
            "schedule": float(tasks.BEAT_SECONDS),
            "args": [BeatLazyFunc(lambda: tasks.due(next(beats)))],
            "options": {"expires": tasks.EXPIRES_SECONDS},
        }
    }
    # What a crash left behind, and who waits, is looked for at once, not at the first beat.
    worker_ready.connect(lambda **_: ticker.wake(tasks.SWEEP, tasks.DEPLOYMENTS), weak=False)
    worker_shutting_down.connect(lambda **_: ticker.stopping.set(), weak=False)
    worker_shutdown.connect(lambda **_: ticker.close(), weak=False)
    setup_logging.connect(partial(_set_up_logs, settings.debug), weak=False)
    beat_embedded_init.connect(_die_with_the_worker, weak=False)
    return made, ticker


def _waker(ticker: Ticker, name: str) -> Callable[[], None]:
    def wake() -> None:
        ticker.wake(name)

    return wake


def _waker_of_several(ticker: Ticker) -> Callable[[Sequence[str]], None]:
    def wake(names: Sequence[str]) -> None:
        # A beat of another version may name what is not known here.
        ticker.wake(*(name for name in names if name in tasks.CADENCE_SECONDS))

    return wake


def _set_up_logs(debug: bool, loglevel: int = logging.WARNING, **_: Any) -> None:
    """Celery tells of every message thrice; how much it tells is its own ``--loglevel``."""
    logs.configure(debug=debug)
    for chatty in ("celery", "kombu"):
        logging.getLogger(chatty).setLevel(loglevel)


def _die_with_the_worker(**_: Any) -> None:
    """The beat is a child process: a worker that is killed takes it along."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


try:
    app, _ticker = build(load())
except UnsafeSettings as error:
    sys.stderr.write("The worker does not start:\n")
    sys.stderr.writelines(f"- {sentence}\n" for sentence in error.sentences)
    raise SystemExit(2) from None
# The beat's process, a fork of this one, goes on sharing what was imported.
settle_collector()
