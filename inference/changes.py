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

BACK_OFF_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
# A brain on this host has no crowd to be spared, and mostly is about to start.
LOCAL_SECONDS, LOCAL_TRIES = 0.1, 50


class Patience:
    """How long to wait for a brain that is away, and which of the failures are worth a line."""

    def __init__(self, *, local: bool) -> None:
        self._local = local
        self._turns = self._failures = 0

    def heard(self) -> None:
        self._turns = self._failures = 0

    def tells(self) -> bool:
        """Of one more failure: the first is told, and those that a longer wait follows."""
        self._failures += 1
        return self._failures == 1 or not self._is_quick()

    def pause(self) -> float:
        """Seconds until the next try."""
        quick, turn = self._is_quick(), self._turns
        self._turns += 1
        return LOCAL_SECONDS if quick else BACK_OFF_SECONDS[min(turn, len(BACK_OFF_SECONDS) - 1)]

    def _is_quick(self) -> bool:
        return self._local and self._turns < LOCAL_TRIES


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
        patience = Patience(local=self._brain.is_local)
        while True:
            try:
                if not self._greeted:
                    await self.greet()
                async for _ in self._follow():
                    patience.heard()
            except GanglionError as error:
                if patience.tells():
                    self._log.warning("brain_lost", reason=error.internal)
            self._gateway.connected = False
            await self._clock.sleep(patience.pause())

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
