"""Trust's share in each beat: hands checks out, takes what agents tell, from memory alone.

What gathers is written once a second; which checks are under way is read once a second.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

import structlog
from sqlalchemy.exc import SQLAlchemyError

from brain.plumbing import Ctx, ended
from brain.trust import preflights
from brain.trust.core.news import Known, News, merged, orders
from brain.trust.store import news as store
from kernel.clock import NS
from kernel.ids import NodeId
from kernel.wire.agent import (
    Beat,
    BeatAnswer,
    CheckStage,
    LeaseSeenState,
    PreflightPoint,
)

SECONDS = 1.0
ENDED_KEPT_NS = 600 * NS  # a contradiction may be told so long after a check was dropped
WORKS = (LeaseSeenState.LOADING, LeaseSeenState.READY)
DONE = (CheckStage.COMMITTED, CheckStage.RECALLED, CheckStage.OPENED)
_AWAY = (SQLAlchemyError, OSError, TimeoutError)

_log = structlog.get_logger()


@dataclass
class TrustPart:
    """A ``fleet.BeatPart``. Tests turn ``look`` and ``flush`` by hand."""

    ctx: Ctx
    _known: dict[NodeId, dict[str, Known]] = field(default_factory=dict)
    _news: dict[str, News] = field(default_factory=dict)
    _preflights: dict[NodeId, tuple[int, list[PreflightPoint]]] = field(default_factory=dict)
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    def beat(self, node_id: NodeId, beat: Beat, answer: BeatAnswer, now_ns: int) -> None:
        if beat.preflight is not None:
            self._preflights[node_id] = (now_ns, beat.preflight)
        mine = self._known.get(node_id)
        if not mine:
            return
        self._hear(mine, beat, now_ns)
        wanted = _wanted(beat, answer)
        for known in mine.values():
            if not known.live or known.gpu_uuid in wanted:
                continue
            answer.checks.append(known.order)
            news = self._of(known)
            news.handed_ns = news.handed_ns or now_ns
            if known.order.recall:
                news.recall_ns = news.recall_ns or now_ns

    def _hear(self, mine: dict[str, Known], beat: Beat, now_ns: int) -> None:
        working = {uuid for seen in beat.leases if seen.state in WORKS for uuid in seen.gpu_uuids}
        for told in beat.checks:
            known = mine.get(told.check_id)
            if known is None:
                continue
            if told.stage in DONE and known.gpu_uuid in working:
                news = self._of(known)
                news.contradicted_ns = news.contradicted_ns or now_ns
            elif known.live and told.stage is not CheckStage.RUNNING:
                self._of(known).take(told, now_ns)

    def _of(self, known: Known) -> News:
        return self._news.setdefault(known.check_id, News(known.check_id))

    async def start(self) -> None:
        self._tasks = [
            asyncio.create_task(self._every("look", self.look)),
            asyncio.create_task(self._every("flush", self.flush)),
        ]

    async def stop(self) -> None:
        await ended(*self._tasks)
        self._tasks = []
        with suppress(*_AWAY):
            await self.flush()

    async def look(self) -> None:
        """Read which checks are under way, and which ended lately."""
        since_ns = self.ctx.clock.now_ns() - ENDED_KEPT_NS
        async with self.ctx.db.glance() as tx:
            rows = await store.under_way(tx, since_ns)
        self._known = orders(rows)

    async def flush(self) -> None:
        """Write what agents told. What could not be written is kept for the next time."""
        news, self._news = self._news, {}
        reports, self._preflights = self._preflights, {}
        try:
            if news:
                async with self.ctx.db.begin() as tx:
                    await store.write(tx, [news[key] for key in sorted(news)])
            await _keep_reports(self.ctx, reports)
        except _AWAY:
            self._news = merged(news, self._news)
            self._preflights = reports | self._preflights
            raise

    async def _every(self, name: str, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except _AWAY as error:
                _log.warning("trust_step_failed", step=name, failure=str(error)[:200])
            await self.ctx.clock.sleep(SECONDS)


async def _keep_reports(ctx: Ctx, reports: dict[NodeId, tuple[int, list[PreflightPoint]]]) -> None:
    for node_id in sorted(reports):
        at_ns, points = reports[node_id]
        await preflights.keep(ctx, node_id, at_ns, points)


def _wanted(beat: Beat, answer: BeatAnswer) -> set[str]:
    """GPUs that a lease is for: there a check must end."""
    leases: Sequence[tuple[str, ...]] = [
        tuple(seen.gpu_uuids) for seen in beat.leases if seen.state is not LeaseSeenState.GONE
    ]
    if answer.desired is not None:
        leases = [*leases, *(tuple(lease.gpu_uuids) for lease in answer.desired.leases)]
    return {uuid for uuids in leases for uuid in uuids}
