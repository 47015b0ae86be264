"""The front's process: ``python -m inference.pods``."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import structlog
import uvloop
from pydantic import ValidationError

from inference.pods.service import Service
from inference.pods.settings import Settings
from kernel.clock import SystemClock
from kernel.errors import GanglionError
from kernel.ids import SystemIds


def main() -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status."""
    try:
        settings = Settings()
    except ValidationError as wrong:
        first = wrong.errors()[0]
        name = str(first["loc"][0]).upper() if first["loc"] else "A setting"
        sys.stderr.write(f"{name} is wrong: {first['msg']}.\n")
        return 2
    if not settings.brain_url or not settings.gateway_token:
        sys.stderr.write("Set BRAIN_URL and GATEWAY_TOKEN: the brain tells of pods.\n")
        return 2
    _configure_log()
    try:
        uvloop.run(_run(settings))
    except (OSError, GanglionError) as error:
        sys.stderr.write(f"The front of pods cannot start: {error}\n")
        return 1
    return 0


async def _run(settings: Settings) -> None:
    clock = SystemClock()
    service = Service(settings, clock, SystemIds(clock))
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, service.stop)
    loop.add_signal_handler(signal.SIGINT, service.stop)
    await service.serve()


def _configure_log() -> None:
    """One JSON line an event, to stderr."""
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


if __name__ == "__main__":
    sys.exit(main())
