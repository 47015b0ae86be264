"""Where keys are claimed and settled: at the brain, or in this process alone."""

from __future__ import annotations

import asyncio
from typing import Protocol

from inference.brain import Brain
from kernel.clock import NS, Clock
from kernel.errors import Unavailable
from kernel.wire.replays import KEPT_SECONDS, Claim, ClaimAnswer, Kept, Said, Settle

PATIENCE_SECONDS = 3.0  # beyond what the brain was asked to wait
ROWS_MAX = 10_000
BYTES_MAX = 16 << 20


class Desk(Protocol):
    """Both may be repeated. They raise ``Unavailable`` where it cannot be said what happened."""

    async def claim(self, asked: Claim) -> ClaimAnswer: ...
    async def settle(self, over: Settle) -> None: ...


class BrainDesk:
    """The brain's word, which all gateways share."""

    def __init__(self, brain: Brain) -> None:
        self._brain = brain

    async def claim(self, asked: Claim) -> ClaimAnswer:
        try:
            async with asyncio.timeout(asked.wait_seconds + PATIENCE_SECONDS):
                return await self._brain.claim(asked)
        except TimeoutError:
            raise Unavailable("The brain does not answer.", retry_after=1) from None

    async def settle(self, over: Settle) -> None:
        await self._brain.settle(over)


class _Row:
    __slots__ = ("answer", "claim", "expires_ns", "settled")

    def __init__(self, claim: Claim, expires_ns: int) -> None:
        self.claim = claim
        self.expires_ns = expires_ns
        self.settled = False
        self.answer: Kept | None = None

    @property
    def size(self) -> int:
        return len(self.answer.body) if self.answer is not None else 0


class MemoryDesk:
    """For a gateway that runs alone, from a file: what this process remembers, within bounds. The
    oldest is forgotten first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._rows: dict[tuple[str, str], _Row] = {}
        self._bytes = 0

    async def claim(self, asked: Claim) -> ClaimAnswer:
        name = asked.account_id, asked.key
        now_ns = self._clock.monotonic_ns()
        row = self._rows.get(name)
        if row is None or row.expires_ns <= now_ns:
            self._forget(name)
            self._rows[name] = _Row(asked, now_ns + KEPT_SECONDS * NS)
            self._trim()
            return ClaimAnswer(Said.RUN, asked.request_id)
        first = row.claim.request_id
        if row.claim.input != asked.input:
            return ClaimAnswer(Said.OTHER_INPUT, first)
        if not row.settled:
            return ClaimAnswer(Said.RUNNING, first)
        said = Said.GONE if row.answer is None else Said.REPLAY
        return ClaimAnswer(said, first, row.answer)

    async def settle(self, over: Settle) -> None:
        name = over.account_id, over.key
        row = self._rows.get(name)
        if row is None or row.settled or row.claim.request_id != over.request_id:
            return
        if over.free:
            self._forget(name)
            return
        row.settled, row.answer = True, over.answer
        self._bytes += row.size
        self._trim()

    def _trim(self) -> None:
        while len(self._rows) > ROWS_MAX or self._bytes > BYTES_MAX:
            self._forget(next(iter(self._rows)))

    def _forget(self, name: tuple[str, str]) -> None:
        row = self._rows.pop(name, None)
        if row is not None:
            self._bytes -= row.size
