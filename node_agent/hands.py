"""Puts the engine together with what it works with: volumes, the host's firewall, shells."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.clock import Clock
from node_agent.engine import Engine
from node_agent.engine_process import ProcessEngine, ProcessPlaces
from node_agent.extras import Extra
from node_agent.firewall import Firewall
from node_agent.host import boot_id
from node_agent.identity import Home
from node_agent.loop_disks import disks_here
from node_agent.records import Work
from node_agent.settings import EngineKind, Settings
from node_agent.volumes import Volumes


@dataclass(frozen=True)
class Hands:
    """``volumes`` and ``firewall`` are there with containers only."""

    engine: Engine
    volumes: Volumes | None = None
    firewall: Firewall | None = None

    @property
    def extras(self) -> tuple[Extra, ...]:
        return tuple(one for one in (self.volumes, self.firewall) if one is not None)

    async def open(self) -> None:
        """Before any work starts: the host's network is closed to it, where that can be done."""
        if self.firewall is not None:
            await self.firewall.check()

    def kept(self, work: Work) -> str:
        """Why work must end for what its volumes hold; empty while it need not."""
        return self.volumes.breaches(work) if self.volumes is not None else ""


def make_hands(settings: Settings, home: Home, clock: Clock) -> Hands:
    """As the settings name them; the Docker SDK is loaded only where it is used."""
    if settings.agent_engine is EngineKind.PROCESS:
        return Hands(
            ProcessEngine(
                home.work,
                host_boot_id=boot_id(),
                clock=clock,
                places=ProcessPlaces(vllm=settings.agent_vllm, models=settings.models),
                die_with_agent=settings.agent_stop_work_on_exit,
            )
        )
    from node_agent.containers.images import ImageLimits
    from node_agent.containers.options import Rules
    from node_agent.containers.pull import PullLimits
    from node_agent.engine_docker import Limits, docker_engine

    volumes = Volumes(home.path / "volumes", clock, disks=disks_here(settings.docker_host))
    engine = docker_engine(
        home.work,
        clock=clock,
        docker_host=settings.docker_host,
        limits=Limits(
            rules=Rules(
                runtime=settings.docker_runtime,
                pod_capabilities=tuple(_listed(settings.agent_pod_capabilities)),
                read_only_workers=settings.agent_read_only_workers,
                dns=tuple(_listed(settings.agent_dns)),
                worker_folders=settings.engine_folders,
                models=str(settings.models),
            ),
            pull=PullLimits(
                stall_seconds=settings.agent_pull_stall_seconds,
                total_seconds=settings.agent_pull_seconds_max,
            ),
            images=ImageLimits(
                reserve_mib=settings.agent_disk_reserve_mib,
                kept_mib_max=settings.agent_images_mib_max,
            ),
        ),
        folders=volumes,
        reserved=volumes.reserved_mib,
    )
    volumes.serve(engine)
    return Hands(engine, volumes, Firewall(clock) if settings.agent_firewall else None)


def _listed(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]
