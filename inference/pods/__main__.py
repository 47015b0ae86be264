"""The front's process: ``python -m inference.pods``."""

from __future__ import annotations

import sys

import uvloop

from inference.pods.service import Service
from inference.pods.settings import Settings, read
from inference.process import load, log_json, serve
from kernel.clock import SystemClock
from kernel.errors import GanglionError
from kernel.ids import SystemIds


def main() -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status."""
    settings = load(read)
    if not settings.brain_url or not settings.gateway_token:
        sys.stderr.write("Set BRAIN_URL and GATEWAY_TOKEN: the brain tells of pods.\n")
        return 2
    log_json()
    try:
        return uvloop.run(_run(settings))
    except (OSError, GanglionError) as error:
        sys.stderr.write(f"The front of pods cannot start: {error}\n")
        return 1


async def _run(settings: Settings) -> int:
    clock = SystemClock()
    service = Service(settings, clock, SystemIds(clock))
    await serve(service)
    return 1 if service.parts.failed else 0


if __name__ == "__main__":
    sys.exit(main())
