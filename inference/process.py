"""How the programs of this house start: their settings, their log, the signals that end them."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

import structlog

from kernel.errors import BadInput

S = TypeVar("S")


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


async def serve(service: Service) -> None:
    """Until SIGTERM or SIGINT; returns when it has stopped cleanly."""
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, service.stop)
    loop.add_signal_handler(signal.SIGINT, service.stop)
    await service.serve()
