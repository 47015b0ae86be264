"""Samples running work: what it uses, what it has written, whether it still sees its GPUs.

Each kind has its own pace, since each has its own cost: a statistic is a short call, the size of
what was written makes Docker walk files, the GPUs are asked by a program in the container.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from kernel.clock import NS
from kernel.wire.agent import WorkUsage
from node_agent.engine import Engine, EngineAway
from node_agent.records import Trouble, Work

log = structlog.get_logger(__name__)
USAGE_PACE_NS = 10 * NS
WRITTEN_PACE_NS = 60 * NS
GPUS_PACE_NS = 60 * NS
TROUBLES_TO_TELL = 2  # in a row: the driver's program may fail once while it is busy
SLACK_SHARE = 0.05  # what a container may have written beyond its limit
SLACK_MIB = 64
Breach = Callable[[Work], str]


@dataclass(frozen=True)
class Subject:
    """Running work, and the most that it may write beside its volumes (0 = no limit)."""

    work: Work
    disk_mib: int = 0


@dataclass
class _Run:
    """One run of one lease's work, as sampled."""

    ref: str
    due_ns: dict[str, int] = field(default_factory=dict)
    troubles: int = 0

    def is_due(self, kind: str, pace_ns: int, now_ns: int) -> bool:
        if now_ns < self.due_ns.get(kind, 0):
            return False
        self.due_ns[kind] = now_ns + pace_ns
        return True


class Gauges:
    """By lease id. ``kept`` says why work must end for what it keeps elsewhere (its volumes)."""

    def __init__(self, engine: Engine, boot_ns: Callable[[], int], *, kept: Breach) -> None:
        self._engine = engine
        self._boot_ns = boot_ns
        self._kept = kept
        self._runs: dict[str, _Run] = {}
        self.usage: dict[str, WorkUsage] = {}
        self.breaches: dict[str, Trouble] = {}
        self.gpu_trouble: dict[str, Trouble] = {}

    async def round(self, subjects: list[Subject]) -> bool:
        """Sample what is due and forget what runs no more. True when work broke a limit."""
        present = {subject.work.lease_id: subject.work.ref for subject in subjects}
        for lease_id in [one for one, run in self._runs.items() if present.get(one) != run.ref]:
            self._runs.pop(lease_id, None)
            self.usage.pop(lease_id, None)
            self.breaches.pop(lease_id, None)
            self.gpu_trouble.pop(lease_id, None)
        before = (dict(self.breaches), dict(self.gpu_trouble))
        await asyncio.gather(*(self._sampled(subject) for subject in subjects))
        return before != (self.breaches, self.gpu_trouble)

    async def _sampled(self, subject: Subject) -> None:
        """One container that keeps its sample waiting does not keep the others waiting."""
        try:
            await self._sample(subject)
        except EngineAway as away:
            log.debug("not_sampled", lease_id=subject.work.lease_id, reason=away.detail)

    async def _sample(self, subject: Subject) -> None:
        work, now_ns = subject.work, self._boot_ns()
        run = self._runs.setdefault(work.lease_id, _Run(work.ref))
        if run.is_due("usage", USAGE_PACE_NS, now_ns):
            used = await self._engine.usage(work)
            if used is not None:
                self.usage[work.lease_id] = used
        if subject.disk_mib and run.is_due("written", WRITTEN_PACE_NS, now_ns):
            await self._weigh(work, subject.disk_mib)
        kept = self._kept(work) if work.volumes else ""
        if kept:
            self.breaches[work.lease_id] = Trouble(work.ref, kept)
        if work.gpu_uuids and run.is_due("gpus", GPUS_PACE_NS, now_ns):
            await self._look_inside(work, run)

    async def _weigh(self, work: Work, disk_mib: int) -> None:
        written = await self._engine.written_mib(work)
        if written is not None and written > disk_mib * (1 + SLACK_SHARE) + SLACK_MIB:
            reason = f"It wrote {written:,} MiB on its own disk, and may write {disk_mib:,} MiB."
            self.breaches[work.lease_id] = Trouble(work.ref, reason)

    async def _look_inside(self, work: Work, run: _Run) -> None:
        reason = await self._engine.gpu_trouble(work)
        run.troubles = run.troubles + 1 if reason else 0
        if run.troubles >= TROUBLES_TO_TELL:
            self.gpu_trouble[work.lease_id] = Trouble(work.ref, reason)
