"""What nodes report of volumes: taken from each beat in memory, written together every few seconds.

A volume is what a node says it has. Nothing is billed that no node reported, and what was to be
removed is gone when its node, having been told, reports it no more.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import structlog

from brain import fleet
from brain.plumbing import Ctx, Tx, ended
from brain.pods import strays, volume_store, volumes
from brain.pods.states import VolumeState
from brain.pods.volume_store import Reported
from kernel.clock import NS
from kernel.ids import NodeId, VolumeId
from kernel.wire.agent import Beat, BeatAnswer

log = structlog.get_logger(__name__)

FLUSH_SECONDS = 5.0
STRAY_NS = 3600 * NS  # a stray that no beat named for so long is not shown any more


@dataclass(frozen=True)
class _Heard:
    """The last beat of one node, as far as volumes go."""

    generation: int
    at_ns: int
    volumes: dict[str, int]  # id -> MiB used


@dataclass
class VolumeWatch:
    """A share in each beat (``fleet.BeatPart``). One a brain process."""

    ctx: Ctx
    _heard: dict[NodeId, _Heard] = field(default_factory=dict)
    _asked: frozenset[str] = frozenset()  # nodes that are told to remove something
    _task: asyncio.Task[None] | None = None

    def beat(self, node_id: NodeId, beat: Beat, answer: BeatAnswer, now_ns: int) -> None:
        """A node with no volumes costs one look-up."""
        if beat.volumes or str(node_id) in self._asked:
            seen = {one.volume_id: one.used_mib for one in beat.volumes}
            self._heard[node_id] = _Heard(beat.generation, now_ns, seen)

    async def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name="volumes-seen")

    async def stop(self) -> None:
        """What was heard is written before."""
        task, self._task = self._task, None
        if task is not None:
            await ended(task)
            await self._flush_safely()

    async def flush(self) -> None:
        """Write what was heard since the last time. May be repeated; a failure loses nothing but
        time: the next beat says the same."""
        heard, self._heard = self._heard, {}
        reports = [
            Reported(str(node_id), volume_id, used, one.at_ns)
            for node_id, one in heard.items()
            for volume_id, used in one.volumes.items()
        ]
        if reports:
            async with self.ctx.db.begin() as tx:
                await volume_store.keep_seen(tx, reports)
                fresh = await volume_store.found_first(tx, reports)
            for one in fresh:
                await self._find(one)
        await self._end_dropped(heard)

    async def _find(self, one: Reported) -> None:
        async with self.ctx.db.begin() as tx:
            volume_id = VolumeId(one.volume_id)
            await volumes.find(tx, self.ctx, volume_id, NodeId(one.node_id), one.at_ns)

    async def _end_dropped(self, heard: dict[NodeId, _Heard]) -> None:
        async with self.ctx.db.begin() as tx:
            asked = await volume_store.dropping(tx)
            unowned = await strays.dropping(tx)
        self._asked = frozenset(str(node_id) for _, node_id in [*asked, *unowned])
        for volume_id, node in asked:
            one = heard.get(NodeId(node))
            if one is not None and str(volume_id) not in one.volumes:
                async with self.ctx.db.begin() as tx:
                    await self._vanish(tx, volume_id, one)
        for stray, node_id in unowned:
            one = heard.get(node_id)
            if one is not None and stray not in one.volumes:
                async with self.ctx.db.begin() as tx:
                    await strays.vanish(tx, stray, node_id, one.generation)

    async def _vanish(self, tx: Tx, volume_id: VolumeId, one: _Heard) -> None:
        """Only what a node says after it was told counts."""
        row = await volume_store.held(tx, volume_id)
        if row is None or row.state != VolumeState.DROPPING.value or row.node_id is None:
            return
        told = await fleet.generation_of(tx, row.node_id)
        if told is not None and one.generation >= told:
            await volumes.vanish(tx, self.ctx, row, "its node has it no more")

    async def _run(self) -> None:
        while True:
            await self.ctx.clock.sleep(FLUSH_SECONDS)
            await self._flush_safely()

    async def _flush_safely(self) -> None:
        try:
            await self.flush()
        except Exception as failure:  # the next beat tells the same
            log.warning("volumes_not_written", failure=type(failure).__name__, exc_info=failure)
