"""What the agent last saw of engine, GPUs and workers, put together for the pure core."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import structlog

from kernel.wire.agent import NvmlState
from node_agent.engine import Engine, EngineAway
from node_agent.gauges import Gauges, Subject
from node_agent.gpu import Gpus, GpuView
from node_agent.gpu_owners import attributed
from node_agent.health import HealthBook, Patient
from node_agent.records import AgentState, Doing, Phase, Seen, Work

log = structlog.get_logger(__name__)


class Sight:
    """Keeps the newest look of each kind. An engine that is away is remembered as away."""

    def __init__(
        self,
        engine: Engine,
        gpus: Gpus,
        health: HealthBook,
        gauges: Gauges,
        *,
        installation_id: str,
        boot_ns: Callable[[], int],
    ) -> None:
        self._engine = engine
        self._gpus = gpus
        self._boot_ns = boot_ns
        self._installation_id = installation_id
        self._started_ns = boot_ns()
        self._works: tuple[Work, ...] = ()
        self._works_at_ns = 0
        self.health = health
        self.gauges = gauges
        self.engine_ok = False
        self.engine_version: str | None = None
        self.view = GpuView(NvmlState.ABSENT)
        self.last_end_ns = 0
        self.heard = False

    async def look(self) -> None:
        at_ns = self._boot_ns()
        try:
            works = await self._engine.look()
            if self.engine_version is None:
                self.engine_version = await self._engine.version()
        except EngineAway as away:
            if self.engine_ok:
                log.warning("engine_away", reason=away.detail)
            self.engine_ok = False
            return
        self.engine_ok = True
        self._works, self._works_at_ns = works, at_ns

    async def read_gpus(self) -> None:
        view = await self._gpus.read()
        if view.state is not self.view.state:
            log.info("nvml", state=view.state.value, gpus=len(view.gpus), reason=view.reason)
        self.view = attributed(view, self.own_works())

    def seen(self, doing: Mapping[str, Doing]) -> Seen:
        """The look for the core. ``doing`` must be older than the newest look at the engine:
        a job that ended in between may have left work that the look did not show."""
        return Seen(
            installation_id=self._installation_id,
            engine_ok=self.engine_ok,
            works=self._works,
            works_at_ns=self._works_at_ns,
            doing=doing,
            health=self.health.health,
            breaches=self.gauges.breaches,
            gpu_trouble=self.gauges.gpu_trouble,
            nvml=self.view.state,
            gpus={gpu.uuid: gpu for gpu in self.view.gpus},
            gpus_at_ns=self.view.read_ns,
            last_end_ns=self.last_end_ns,
            heard=self.heard,
            agent_started_ns=self._started_ns,
        )

    def own_works(self) -> list[Work]:
        return [work for work in self._works if work.installation_id == self._installation_id]

    def patients(self, state: AgentState) -> list[Patient]:
        """Running work of leases that the agent knows, each with its health path."""
        return [
            Patient(work, held.lease.launch.health_path)
            for work in self.own_works()
            if work.phase is Phase.RUNNING and (held := state.leases.get(work.lease_id)) is not None
        ]

    def subjects(self, state: AgentState) -> list[Subject]:
        """Running work to be sampled, each with what it may write."""
        return [
            Subject(work, state.leases[work.lease_id].lease.launch.disk_mib)
            for work in self.own_works()
            if work.phase is Phase.RUNNING and work.lease_id in state.leases
        ]
