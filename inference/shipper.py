"""Ships the spool to the brain about once a second: backlog first, then watermarks.

A batch may be sent again until the brain acknowledges it, so nothing is lost; each piece has a
key, so nothing counts twice. Only then are the spool's files given up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import structlog

from inference.brain import Brain
from inference.changes import Log
from inference.gateway import Gateway
from inference.money import Slicer
from inference.spool import Place, Remains
from kernel.clock import Clock
from kernel.errors import Conflict, GanglionError
from kernel.wire.gateway import Segment, SliceReturn, UsageBatch, Watermark

BATCH_SEGMENTS_MAX = 2000
READ_SEGMENTS_MAX = 250
REMAINS_SEGMENTS_MAX = 2000
TOLD_MAX = 5000  # watermarks, and returned slices, that one batch may carry
BACK_OFF_SECONDS_MAX = 10.0


class Shipper:
    def __init__(
        self,
        gateway: Gateway,
        brain: Brain,
        slicer: Slicer,
        greet: Callable[[], Awaitable[None]],
        clock: Clock,
        remains: list[Remains],
    ) -> None:
        self._gateway = gateway
        self._brain = brain
        self._slicer = slicer
        self._greet = greet
        self._clock = clock
        self._remains = remains
        self._place = Place(1, 0)
        self.shipped: Callable[[list[Segment]], None] = lambda segments: None
        self._turn = asyncio.Lock()
        self._log: Log = structlog.get_logger("inference.shipper")

    async def run(self) -> None:
        """For ever. Failures wait longer each time; success returns to the usual pace."""
        pace = self._gateway.settings.gateway_ship_seconds
        wait = pace
        while True:
            await self._clock.sleep(wait)
            try:
                await self.ship()
                wait = pace
            except GanglionError as error:
                self._log.warning("usage_not_shipped", reason=error.internal)
                wait = min(wait * 2, BACK_OFF_SECONDS_MAX)

    async def ship(self) -> None:
        """Everything up to now. Raises ``Unavailable`` when the brain does not take it."""
        async with self._turn:
            try:
                while self._remains:
                    await self._ship_remains(self._remains[0])
                    self._remains.pop(0)
                while not await self._ship_batch():
                    pass
            except Conflict:  # before the first hello, or the brain's books are older than this
                await self._greet()
                raise

    async def farewell(self) -> None:
        """After the last ``ship``: nothing more of this boot is to be waited for."""
        batch = self._batch([])
        batch.closed_boots = [self._gateway.boot_id]
        await self._brain.usage(batch)

    async def _ship_remains(self, remains: Remains) -> None:
        """What a dead boot left; its folder goes when the brain has it all."""
        segments = await asyncio.to_thread(remains.segments)
        for start in range(0, max(len(segments), 1), REMAINS_SEGMENTS_MAX):
            part = segments[start : start + REMAINS_SEGMENTS_MAX]
            last = start + REMAINS_SEGMENTS_MAX >= len(segments)
            batch = self._batch(part)
            batch.closed_boots = [remains.boot_id] if last else []
            await self._tell(batch)
        remains.drop()
        self._log.info("remains_shipped", boot=remains.boot_id, segments=len(segments))

    async def _ship_batch(self) -> bool:
        """One batch; true when it reached the end of the spool and carried watermarks."""
        gateway = self._gateway
        watermarks = self._watermarks()  # before reading: later pieces are no part of them
        place, segments, whole = self._place, list[Segment](), False
        while not whole and len(segments) < BATCH_SEGMENTS_MAX:
            found = gateway.spool.read(place, READ_SEGMENTS_MAX)
            place, whole = found.after, found.whole
            segments += found.segments
            await self._clock.sleep(0)  # requests come first
        if not whole:
            await self._tell(self._batch(segments))
        else:
            await self._tell_all(segments, watermarks)
        self._place = place
        gateway.spool.release(place)
        gateway.metrics.count("usage_shipped", len(segments))
        self.shipped(segments)
        return whole

    async def _tell_all(self, segments: list[Segment], watermarks: list[Watermark]) -> None:
        """The last segments with every watermark and returned slice, in as many batches as the
        wire allows of each: what is not told would count as if there were nothing of it."""
        back = self._slicer.take_back()
        told = 0
        try:
            for first in range(0, max(len(watermarks), len(back), 1), TOLD_MAX):
                batch = self._batch(segments if first == 0 else [])
                batch.watermarks = watermarks[first : first + TOLD_MAX]
                batch.returns = [SliceReturn(i) for i in back[first : first + TOLD_MAX]]
                await self._tell(batch)
                told = first + TOLD_MAX
        except BaseException:
            self._slicer.put_back(back[told:])
            raise

    async def _tell(self, batch: UsageBatch) -> None:
        """Returns when the brain has it. What it parked it keeps, and somebody should look at."""
        parked = (await self._brain.usage(batch)).parked
        if parked:
            self._gateway.metrics.count("usage_parked", len(parked))
            first = parked[0]
            self._log.warning("usage_parked", count=len(parked), key=first.key, reason=first.reason)

    def _batch(self, segments: list[Segment]) -> UsageBatch:
        gateway = self._gateway
        return UsageBatch(
            boot_id=gateway.boot_id,
            gateway=gateway.settings.name,
            sent_monotonic_ns=gateway.now_ns(),
            segments=segments,
        )

    def _watermarks(self) -> list[Watermark]:
        """How far each replica's time is told: up to now, or to its oldest open piece."""
        gateway = self._gateway
        now_ns = gateway.now_ns()
        until: dict[str, int] = {}
        count: dict[str, int] = {}
        for residence in gateway.residences():
            replica_id = residence.target.replica_id
            until[replica_id] = min(until.get(replica_id, now_ns), residence.start_ns)
            count[replica_id] = count.get(replica_id, 0) + 1
        marks = []
        for replica_id, replica in gateway.tables.replicas.items():
            marks.append(
                Watermark(
                    replica_id=replica_id,
                    until_ns=until.get(replica_id, now_ns),
                    in_flight=replica.in_flight,
                    draining=not replica.ready,
                )
            )
        for replica_id in until.keys() - gateway.tables.replicas.keys():  # gone, but still busy
            marks.append(
                Watermark(replica_id, until[replica_id], in_flight=count[replica_id], draining=True)
            )
        return marks
