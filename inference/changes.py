"""Keeps the tables true: follows the brain's stream of changes, and checks its digests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Protocol

import structlog

from inference.brain import Brain
from inference.gateway import Gateway
from kernel.clock import Clock
from kernel.errors import GanglionError
from kernel.wire.gateway import Hello

# Often at first: a brain that starts beside its gateways is there within seconds.
QUICK_SECONDS_MAX = 0.2
BACK_OFF_SECONDS = (*[0.1] * 20, *[QUICK_SECONDS_MAX] * 10, 0.5, 1.0, 2.0, 5.0)


def back_off(tries: int) -> float:
    """Seconds to wait after so many tries that failed in a row, not counting the last."""
    return BACK_OFF_SECONDS[min(tries, len(BACK_OFF_SECONDS) - 1)]


def is_told(tries: int) -> bool:
    """Whether a failure after so many is worth a line: of the quick ones the first alone."""
    return tries == 0 or back_off(tries) > QUICK_SECONDS_MAX


class Log(Protocol):
    def info(self, event: str, **facts: object) -> None: ...
    def warning(self, event: str, **facts: object) -> None: ...


class Follower:
    """Says hello once, then reads changes for ever; when the stream ends it asks anew."""

    def __init__(self, gateway: Gateway, brain: Brain, clock: Clock, *, version: str) -> None:
        self._gateway = gateway
        self._brain = brain
        self._clock = clock
        self._version = version
        self._greeted = False
        self._log: Log = structlog.get_logger("inference.changes")

    async def run(self) -> None:
        tries = 0
        while True:
            try:
                if not self._greeted:
                    await self.greet()
                async for _ in self._follow():
                    tries = 0
            except GanglionError as error:
                if is_told(tries):
                    self._log.warning("brain_lost", reason=error.internal)
            self._gateway.connected = False
            await self._clock.sleep(back_off(tries))
            tries += 1

    async def greet(self) -> None:
        """Tell the brain of this boot; it answers the same each time."""
        gateway = self._gateway
        answer = await self._brain.hello(
            Hello(
                boot_id=gateway.boot_id,
                gateway=gateway.settings.name,
                monotonic_ns=gateway.now_ns(),
                version=self._version,
            )
        )
        gateway.offset_ns = answer.offset_ns
        gateway.window_ns = min(gateway.window_ns, answer.window_seconds * 1_000_000_000)
        self._greeted = True
        self._log.info("brain_greeted", installation=answer.installation_id)

    async def _follow(self) -> AsyncIterator[None]:
        """Apply lines until the stream ends or the copies differ."""
        gateway = self._gateway
        async for line in self._brain.changes(gateway.boot_id, gateway.link_listener.url):
            if line.blind:  # a key that is not known here may be a new one
                gateway.connected = False
                continue
            gateway.heard()
            if line.digest is not None and line.digest != gateway.tables.digest():
                self._log.warning("snapshot_differs")
                return
            gateway.tables.apply(line)
            yield
