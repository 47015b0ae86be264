"""Costs are buffered and written together; nothing is lost at a stop, nor doubled by a retry.

A cost gets its id when it is recorded; a batch whose commit's answer was lost is written again
under the same ids, and the database keeps one. The buffer is bounded: when the database stays
away, ``record`` tells its caller no more than a log line, and the oldest batch waits.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime

import structlog
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import SQLAlchemyError

from brain.costs.models import CostRow
from brain.plumbing import Ctx, ended
from kernel.ids import AccountId, CostId

FLUSH_SECONDS = 5.0  # at most 10 are promised
BATCH = 1000
BUFFER_MAX = 200_000
STOP_TRIES = 3

_log = structlog.get_logger()


@dataclass(frozen=True)
class Cost:
    """What one piece of work cost us: never what it said."""

    kind: str  # llm, tts, stt, phone, image, gpu …
    provider: str
    model: str
    unit: str
    units: int
    cost_nano: int
    account: AccountId | None = None
    subject: str = ""  # the deployment or pod that it was for
    key_id: str = ""  # the API key that asked


@dataclass(frozen=True)
class _Kept:
    id: CostId
    cost: Cost
    who: str
    at: datetime


@dataclass
class Recorder:
    """One a process. ``key`` is for the hashes; another key makes other hashes."""

    ctx: Ctx
    key: bytes = field(repr=False)
    enabled: bool = True
    _buffer: list[_Kept] = field(default_factory=list)
    _task: asyncio.Task[None] | None = None
    _full: asyncio.Event = field(default_factory=asyncio.Event)
    _writing: asyncio.Lock = field(default_factory=asyncio.Lock)
    dropped: int = 0

    def record(self, cost: Cost) -> None:
        """Returns at once; written within ten seconds. Off: nothing is recorded."""
        if not self.enabled:
            return
        if len(self._buffer) >= BUFFER_MAX:
            self.dropped += 1
            _log.error("cost_dropped", dropped=self.dropped, kind=cost.kind)
            return
        who = "" if cost.account is None else self.who(cost.account)
        kept = _Kept(self.ctx.ids.new(CostId), cost, who, self.ctx.clock.now())
        self._buffer.append(kept)
        if len(self._buffer) >= BATCH:
            self._full.set()

    def who(self, account: AccountId) -> str:
        """The account's name among costs."""
        return hmac.new(self.key, f"cost/{account}".encode(), hashlib.sha256).hexdigest()[:32]

    def start(self) -> None:
        """Begin to write, every few seconds and when a batch is full."""
        self._task = asyncio.create_task(self._run(), name="costs")

    async def close(self) -> None:
        """Write what is buffered, then stop."""
        await ended(self._task)
        self._task = None
        for _ in range(STOP_TRIES):
            with suppress(SQLAlchemyError, OSError):
                await self.flush()
                return
        _log.error("costs_not_written", count=len(self._buffer))

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                # Not wait_for: on Python 3.11 it can swallow the cancellation at the close.
                async with asyncio.timeout(FLUSH_SECONDS):
                    await self._full.wait()
            self._full.clear()
            try:
                await self.flush()
            except (SQLAlchemyError, OSError) as error:  # kept, and written next time
                _log.warning("costs_wait", error=type(error).__name__, count=len(self._buffer))

    async def flush(self) -> int:
        """Write all that is buffered; how many. What is not known to be written stays."""
        written = 0
        async with self._writing:
            while self._buffer:
                batch = self._buffer[:BATCH]
                async with self.ctx.db.begin() as tx:
                    await tx.execute(
                        insert(CostRow).on_conflict_do_nothing(), [_values(one) for one in batch]
                    )
                del self._buffer[: len(batch)]
                written += len(batch)
        return written


def _values(one: _Kept) -> dict[str, object]:
    return {
        "id": one.id,
        "kind": one.cost.kind,
        "provider": one.cost.provider,
        "model": one.cost.model,
        "unit": one.cost.unit,
        "units": one.cost.units,
        "cost_nano": one.cost.cost_nano,
        "who": one.who,
        "created_at": one.at,
        "subject": one.cost.subject,
        "key_id": one.cost.key_id,
        "source": "",
    }
