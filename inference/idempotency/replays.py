"""The keyed requests of this process, and what is still to be said of them to the brain."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING

import structlog

from inference.idempotency.desk import Desk
from kernel.clock import NS, Clock
from kernel.errors import GanglionError
from kernel.wire.replays import Settle

if TYPE_CHECKING:
    from inference.idempotency.original import Original

Name = tuple[str, str]  # account, key

CLAIMS_MAX = 64  # of one account at once: each asks the brain
AGAIN_SECONDS = 0.2
AGAIN_SECONDS_MAX = 10.0
SETTLE_SECONDS_MAX = 3600.0  # the brain then takes the gateway's silence for an unknown outcome


class Replays:
    """``desk`` is set by who puts the gateway together."""

    def __init__(self, desk: Desk, clock: Clock) -> None:
        self.desk = desk
        self.running: dict[Name, Original] = {}
        self.claiming: dict[str, int] = {}  # by account
        self._clock = clock
        self._tasks: set[asyncio.Task[None]] = set()

    def may_claim(self, account_id: str) -> bool:
        return self.claiming.get(account_id, 0) < CLAIMS_MAX

    def spawn(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def settle(self, over: Settle, original: Original | None = None) -> None:
        """Tell it until it is heard; ``original`` answers from memory so long."""
        self.spawn(self._settle(over, original))

    async def flush(self, seconds_max: float) -> None:
        """Before the end: wait for what is on its way. The rest is safe, but less is known."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds_max)

    async def _settle(self, over: Settle, original: Original | None) -> None:
        until_ns = self._clock.monotonic_ns() + round(SETTLE_SECONDS_MAX * NS)
        pause = AGAIN_SECONDS
        while True:
            try:
                await self.desk.settle(over)
                break
            except GanglionError as error:
                if self._clock.monotonic_ns() > until_ns:
                    log = structlog.get_logger("inference.idempotency")
                    log.warning("key_not_settled", request_id=over.request_id, reason=error.detail)
                    break
                await self._clock.sleep(pause)
                pause = min(pause * 2, AGAIN_SECONDS_MAX)
        if original is not None:
            original.forget()
