"""How the programs of this house start: their settings, their log, the signals that end them."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import sys
import traceback
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeVar

import structlog

from kernel.errors import BadInput

S = TypeVar("S")
# Of mallopt(3), as glibc numbers them. Its own values are 128 KiB: each long body would take fresh
# pages from the system and give them back, which costs more than to read, judge and send it.
TRIM_THRESHOLD, MMAP_THRESHOLD = -1, -3
HEAP_BYTES = {TRIM_THRESHOLD: 16 << 20, MMAP_THRESHOLD: 1 << 20}


class Service(Protocol):
    def stop(self) -> None: ...
    async def serve(self) -> None: ...


def load(read: Callable[..., S], **chosen: Any) -> S:
    """What ``read`` finds in the environment, what is ``chosen`` (not None) above it.

    Where a setting is wrong: a sentence on standard error that names it, and the program's end
    with 2.
    """
    try:
        return read(**{name: value for name, value in chosen.items() if value is not None})
    except BadInput as wrong:
        sys.stderr.write(f"{wrong.detail}\n")
        sys.exit(2)


def keep_heap() -> None:
    """Long bodies go where those before them were."""
    with suppress(OSError, AttributeError):  # another C library has no such thing
        library = ctypes.CDLL(None)
        for option, size in HEAP_BYTES.items():
            library.mallopt(option, size)


def log_json() -> None:
    """One JSON line an event, to standard error."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


class Parts:
    """What runs beside a service for as long as it lasts.

    Without one of them a process would serve on and count nothing, or hear nothing: where one dies
    ``stop`` is called, and who started the process starts it again. What the error says is not
    told, only where it was.
    """

    def __init__(self, stop: Callable[[], None]) -> None:
        self.failed = False
        self._stop = stop
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        task.add_done_callback(self._look)
        self._tasks.append(task)

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _look(self, task: asyncio.Task[None]) -> None:
        error = None if task.cancelled() else task.exception()
        if error is None:
            return
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{place.filename}:{place.lineno}"
        log = structlog.get_logger("inference")
        log.error("part_died", error=type(error).__name__, where=where)
        self.failed = True
        self._stop()


async def serve(service: Service) -> None:
    """Until SIGTERM or SIGINT; returns when it has stopped cleanly."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, service.stop)
    loop.add_signal_handler(signal.SIGINT, service.stop)
    await service.serve()
