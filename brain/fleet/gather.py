"""Calls for one thing each, answered many at a time: what comes while one runs goes with the next.

No timer: an idle brain loads at once, and one to which thousands of agents come back at the same
moment loads hundreds in one query.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT")


class Gather(Generic[KeyT]):
    """``load`` takes at most ``at_most`` keys."""

    def __init__(self, load: Callable[[list[KeyT]], Awaitable[None]], *, at_most: int) -> None:
        self._load = load
        self._at_most = at_most
        self._waiting: dict[KeyT, asyncio.Future[None]] = {}
        self._runner: asyncio.Task[None] | None = None

    async def load(self, key: KeyT) -> None:
        """Returns after a load that began no earlier than this call. Raises what it raised."""
        future = self._waiting.get(key)
        if future is None:
            future = self._waiting[key] = asyncio.get_running_loop().create_future()
        if self._runner is None or self._runner.done():
            self._runner = asyncio.create_task(self._run())
        await asyncio.shield(future)

    async def _run(self) -> None:
        while self._waiting:
            keys = list(self._waiting)[: self._at_most]
            futures = [self._waiting.pop(key) for key in keys]
            try:
                await self._load(keys)
            except Exception as error:  # told to every caller, who decides
                for future in futures:
                    future.set_exception(error)
                    future.exception()  # a caller that left does not hear it
            else:
                for future in futures:
                    future.set_result(None)
