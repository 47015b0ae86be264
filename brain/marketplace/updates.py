"""Agents are brought to this brain's file in waves: a share of the nodes each hour.

A part of every beat. A node's place in the wave is chance by its id and the file, so that each
release goes another way through the fleet. A node that starts or ends work is left alone, one
that took the file back is not asked again, and too many failures end the wave.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from brain.marketplace import agent_store, waves
from brain.marketplace.agent_file import AgentFile
from brain.marketplace.agent_store import UpdateNews
from brain.plumbing import Ctx, ended
from kernel.errors import GanglionError
from kernel.ids import NodeId
from kernel.wire.agent import Beat, BeatAnswer, LeaseSeenState

FLUSH_SECONDS = 2.0
BUSY = frozenset({LeaseSeenState.STARTING, LeaseSeenState.STOPPING})
TOLD, DONE, FAILED = "told", "done", "failed"

_log = structlog.get_logger()


@dataclass
class AgentUpdates:
    """Structurally a ``fleet.BeatPart``. ``make`` packs the file; it is called in a thread, when
    the first agent that could be updated speaks."""

    ctx: Ctx
    make: Callable[[], AgentFile]
    percent_per_hour: float
    file: AgentFile | None = None
    _since_ns: int = 0
    _halted: bool = False
    _known: dict[NodeId, str] = field(default_factory=dict)
    _news: list[UpdateNews] = field(default_factory=list)
    _wake: asyncio.Event = field(default_factory=asyncio.Event)
    _task: asyncio.Task[None] | None = None

    def beat(self, node_id: NodeId, beat: Beat, answer: BeatAnswer, now_ns: int) -> None:
        if not beat.agent_file:
            return
        if self.file is None:
            self._wake.set()
            return
        wanted = self.file.sha256
        if beat.agent_file == wanted:
            if self._known.get(node_id) == TOLD:
                self._note(node_id, DONE, "", now_ns)
        elif beat.update_failed == wanted:
            self._note(node_id, FAILED, beat.update_reason, now_ns)
        elif self._may(node_id, beat, now_ns):
            answer.update_to = wanted
            self._note(node_id, TOLD, "", now_ns)

    @property
    def latest(self) -> str:
        """As agents of this brain's file tell their version; empty while nobody asked."""
        return "" if self.file is None else self.file.full_version

    async def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="agent updates")

    async def stop(self) -> None:
        if self._task is None:
            return
        await ended(self._task)
        with suppress(SQLAlchemyError, OSError):
            await self.flush()

    async def load(self) -> None:
        """Pack the file and find when its wave began. May be repeated."""
        made = await asyncio.to_thread(self.make)
        now_ns = self.ctx.clock.now_ns()
        async with self.ctx.db.begin() as tx:
            self._since_ns = await agent_store.release_since(
                tx, made.sha256, made.full_version, now_ns
            )
        self.file = made

    async def flush(self) -> None:
        """Write what nodes told; look whether the wave should end."""
        if self.file is None:
            return
        gathered, self._news = self._news, []
        try:
            async with self.ctx.db.begin() as tx:
                await agent_store.save_news(tx, self.file.sha256, gathered)
                counts = await agent_store.outcomes(tx, self.file.sha256)
        except (SQLAlchemyError, OSError):
            self._news = gathered + self._news
            raise
        halted = waves.halted(failed=counts.get(FAILED, 0), tried=sum(counts.values()))
        if halted and not self._halted:
            _log.error("agent_update_halted", file=self.file.sha256[:12], **counts)
        self._halted = halted

    def _may(self, node_id: NodeId, beat: Beat, now_ns: int) -> bool:
        assert self.file is not None, "asked by beat alone"
        if self._halted or any(line.state in BUSY for line in beat.leases):
            return False
        place = waves.place(str(node_id), self.file.sha256)
        return waves.due(place, now_ns - self._since_ns, self.percent_per_hour)

    def _note(self, node_id: NodeId, outcome: str, reason: str, now_ns: int) -> None:
        if self._known.get(node_id) != outcome:
            self._known[node_id] = outcome
            self._news.append(UpdateNews(node_id, outcome, reason.replace("\0", ""), now_ns))

    async def _run(self) -> None:
        await self._wake.wait()
        while True:
            try:
                await (self.load() if self.file is None else self.flush())
            except (SQLAlchemyError, GanglionError, OSError) as failure:
                _log.warning("agent_updates_failed", failure=str(failure)[:200])
            await self.ctx.clock.sleep(FLUSH_SECONDS)
