"""How the programs of this house start: their settings, their log, the signals that end them."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from typing import Any, Protocol, TypeVar

import structlog
from pydantic import ValidationError
from pydantic_settings import BaseSettings

S = TypeVar("S", bound=BaseSettings)


class Service(Protocol):
    def stop(self) -> None: ...
    async def serve(self) -> None: ...


def load(settings: type[S], **chosen: Any) -> S:
    """From the environment, what is ``chosen`` (not None) above it.

    Where one is wrong: a sentence on standard error that names it, and the program's end with 2.
    """
    try:
        return settings(**{name: value for name, value in chosen.items() if value is not None})
    except ValidationError as wrong:
        first = wrong.errors()[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "A setting"
        sys.stderr.write(f"{name} is wrong: {first['msg']}.\n")
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
