"""The node's key is replaced now and then: on schedule, and when a person asks for it.

The new key is saved before it is sent, and both are kept until the brain's answer is known, so
that a death at any point leaves a node that can still speak.
"""

from __future__ import annotations

from typing import Protocol

import structlog

from kernel.clock import Clock
from kernel.errors import GanglionError
from kernel.wire.agent import Beat, BeatAnswer
from node_agent.identity import Home, NodeKey

log = structlog.get_logger(__name__)
LOOK_SECONDS = 2.0
RETRY_SECONDS = 30.0
DAY_SECONDS = 86_400


class Rotates(Protocol):
    """The call that gives the node a new key. May be repeated with the same key."""

    async def rotate(self, new: NodeKey) -> None: ...


class Rotation:
    """An ``Extra`` that tells nothing and hears nothing."""

    def __init__(self, home: Home, link: Rotates, clock: Clock, *, days: int) -> None:
        self._home = home
        self._link = link
        self._clock = clock
        self._days = days

    def tell(self, beat: Beat) -> None:
        return None

    def hear(self, answer: BeatAnswer, sent_ns: int) -> None:
        return None

    async def run(self) -> None:
        while True:
            await self._clock.sleep(LOOK_SECONDS)
            if not self.due():
                continue
            try:
                await rotate(self._home, self._link)
            except GanglionError as fault:
                log.warning("rotation_failed", code=fault.error_code, reason=fault.detail)
                await self._clock.sleep(RETRY_SECONDS)

    def due(self) -> bool:
        """A person asked, one was begun before, or the key is older than it should be."""
        if self._home.rotation_asked() or self._home.spare_key() is not None:
            return True
        age_seconds = self._clock.now().timestamp() - self._home.key_made_at()
        return self._days > 0 and age_seconds >= self._days * DAY_SECONDS


async def rotate(home: Home, link: Rotates) -> None:
    """One rotation, or the rest of one that was begun."""
    new = home.spare_key() or home.make_spare_key()
    await link.rotate(new)
    home.promote_spare_key()
    home.ask_rotation(False)
    log.info("key_rotated", public_key=new.public_hex)
