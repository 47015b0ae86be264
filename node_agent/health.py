"""Keeps what each worker last said of itself, and asks again at the pace of its state."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from kernel.clock import NS
from node_agent.probe import Probe
from node_agent.records import Health, Work

READY_PACE_NS = 5 * NS
LOADING_PACE_NS = NS // 2
METRICS_PACE_NS = 5 * NS


@dataclass(frozen=True)
class Patient:
    """One running work and where its health is asked; with no path it is well as it runs."""

    work: Work
    health_path: str


class HealthBook:
    """Health and gauges by lease id. ``on_change`` is called when a worker's answer turns."""

    def __init__(
        self, probe: Probe, boot_ns: Callable[[], int], *, on_change: Callable[[], None]
    ) -> None:
        self._probe = probe
        self._boot_ns = boot_ns
        self._on_change = on_change
        self._asked_ns: dict[str, int] = {}
        self._metrics_ns: dict[str, int] = {}
        self.health: dict[str, Health] = {}
        self.metrics: dict[str, dict[str, float]] = {}

    async def round(self, patients: list[Patient]) -> None:
        """Ask those whose turn it is; forget those that are not there any more."""
        present = {patient.work.lease_id for patient in patients}
        for book in (self.health, self.metrics, self._asked_ns, self._metrics_ns):
            for lease_id in set(book) - present:
                del book[lease_id]
        due = [one for one in patients if (one.work.port or not one.health_path) and self._due(one)]
        await asyncio.gather(*(self._ask(patient) for patient in due))

    def _due(self, patient: Patient) -> bool:
        lease_id = patient.work.lease_id
        known = self.health.get(lease_id)
        if known is None or known.ref != patient.work.ref:
            return True
        pace = READY_PACE_NS if known.ok else LOADING_PACE_NS
        return self._boot_ns() - self._asked_ns.get(lease_id, 0) >= pace

    async def _ask(self, patient: Patient) -> None:
        work = patient.work
        now_ns = self._boot_ns()
        self._asked_ns[work.lease_id] = now_ns
        asks = bool(patient.health_path)
        ok = await self._probe.healthy(work.port, patient.health_path) if asks else True
        known = self.health.get(work.lease_id)
        if known is None or known.ref != work.ref or known.ok != ok:
            self.health[work.lease_id] = Health(work.ref, ok, now_ns)
            self._on_change()
        if not asks:
            return
        if ok and now_ns - self._metrics_ns.get(work.lease_id, -METRICS_PACE_NS) >= METRICS_PACE_NS:
            self._metrics_ns[work.lease_id] = now_ns
            self.metrics[work.lease_id] = await self._probe.gauges(work.port)
