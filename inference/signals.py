"""What deployments are scaled by: told to the brain each second, and at once when a request begins
to wait. Never on the path of a request: what is in flight is looked at a few times a second."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

import structlog

from inference.brain import Brain
from inference.changes import Log
from inference.gateway import Gateway
from inference.gauges import Gauges
from kernel.clock import NS, Clock
from kernel.errors import GanglionError
from kernel.wire.gateway import Load, LoadReport, Segment

LOOK_SECONDS = 0.25
TELL_NS = 1 * NS
AT_ONCE_NS = NS // 10  # a notice does not wait for the beat, but many make no flood
LOADS_MAX = 5000  # that one report may carry
TOKENS_MAX = 1e9  # a second: what a worker tells beyond is not believed, and would be refused


@dataclass(slots=True)
class Seen:
    """Of one deployment since the last report."""

    looks: int = 0
    in_flight: int = 0  # summed over the looks
    tokens: int = 0
    idle_told: bool = False  # the brain knows that nothing is left of it here


class Signals:
    def __init__(self, gateway: Gateway, brain: Brain, clock: Clock) -> None:
        self._gateway = gateway
        self._brain = brain
        self._clock = clock
        self._seen: dict[str, Seen] = {}
        self._gauges = Gauges(clock, gateway.settings.gateway_worker_metrics_seconds)
        self._noticed = asyncio.Event()
        self._told_ns = clock.monotonic_ns()
        self._log: Log = structlog.get_logger("inference.signals")
        gateway.waiting.noticed = self._noticed.set

    async def run(self) -> None:
        """For ever. What could not be told is told with the next, anew."""
        lost = False
        while True:
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._noticed.wait()
            except TimeoutError:
                pass
            noticed = self._noticed.is_set()
            self.look()
            since_ns = self._clock.monotonic_ns() - self._told_ns
            if since_ns < (AT_ONCE_NS if noticed else TELL_NS):
                if noticed:
                    await self._clock.sleep(AT_ONCE_NS / NS)
                continue
            self._noticed.clear()
            try:
                await self.tell()
                lost = False
            except GanglionError as error:
                if not lost:
                    self._log.warning("load_not_told", reason=error.internal)
                lost = True

    def counted(self, segments: Iterable[Segment]) -> None:
        """Pieces of requests that were shipped: how fast tokens came."""
        deployments = self._gateway.tables.deployments
        for segment in segments:
            known = deployments.get(segment.deployment_id)
            if known is not None and known.row.scaled:
                seen = self._seen.setdefault(segment.deployment_id, Seen())
                seen.tokens += segment.completion_tokens

    def look(self) -> None:
        """What is in flight just now; whose turn it is to say how full it is."""
        self._gauges.look(self._gateway.tables.deployments.values())
        for deployment in self._gateway.tables.deployments.values():
            if deployment.row.scaled:
                seen = self._seen.setdefault(deployment.row.deployment_id, Seen())
                seen.looks += 1
                seen.in_flight += sum(one.in_flight for one in deployment.replicas)

    async def tell(self) -> None:
        """Raises ``Unavailable`` when the brain does not take it."""
        now_ns = self._clock.monotonic_ns()
        seconds = max(now_ns - self._told_ns, 1) / NS
        self._told_ns = now_ns
        loads = self._loads(seconds)
        for first in range(0, len(loads), LOADS_MAX):
            part = loads[first : first + LOADS_MAX]
            await self._brain.load(LoadReport(self._gateway.boot_id, part))

    def _loads(self, seconds: float) -> list[Load]:
        """Of each deployment that is scaled; of one that sleeps untouched only once."""
        tables, before, self._seen = self._gateway.tables, self._seen, {}
        loads = []
        for deployment_id, seen in before.items():
            deployment = tables.deployments.get(deployment_id)
            if deployment is None or not deployment.row.scaled:
                continue
            caches, queued = self._gauges.need(deployment)
            load = Load(
                deployment_id,
                in_flight=seen.in_flight / max(seen.looks, 1),
                waiting=self._gateway.waiting.waiting(deployment_id),
                tokens_per_second=min(seen.tokens / seconds, TOKENS_MAX),
                caches=round(caches, 3),
                queued=queued,
            )
            idle = not (deployment.replicas or load.in_flight or load.waiting)
            self._seen[deployment_id] = Seen(idle_told=idle)
            if not (idle and seen.idle_told):
                loads.append(load)
        return loads
