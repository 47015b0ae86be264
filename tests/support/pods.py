"""Pods over a small fleet: nodes with a container engine whose agents keep volumes on a disk."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from sqlalchemy import text

from brain import billing, deployments, pods
from brain.bridges import DeploymentWatch
from brain.plumbing import Ctx, Tx
from brain.pods import service, store, volume_store
from brain.pods.models import Pod, Volume
from brain.pods.service import PodWanted, Whole
from brain.pods.volumes import Mount
from catalog import Catalog, load_catalog
from kernel.clock import ManualClock
from kernel.ids import AccountId, PodId, VolumeId
from kernel.wire.agent import DesiredLease, DesiredState, LaunchSpec, LeaseSeen, LeaseSeenState
from tests.support.deployments import give
from tests.support.fleet import VAULT, Agent, Rig, brain_front, gpu

IMAGE = "busybox:1.36"
STRIDE_SECONDS = 100.0  # below what a volume may be away for
VOLUME_MIB = 7  # what the scripted work writes


@dataclass
class Yard:
    """What a test of pods works with."""

    rig: Rig
    ctx: Ctx
    clock: ManualClock
    watch: pods.VolumeWatch
    account: AccountId
    catalog: Catalog = field(default_factory=load_catalog)
    grace_days: int = 7
    told: dict[str, LaunchSpec] = field(default_factory=dict)  # by lease

    async def node(self, gpus: int = 1) -> Agent:
        """A node with a container engine."""
        number = len(self.rig.agents)
        made = await self.rig.enrolled(*[gpu(f"GPU-{number}-{i}") for i in range(gpus)])
        made.engine = "docker"
        await made.open_session()
        await made.beat()
        await self.rig.front.flush()
        return made

    async def create(self, image: str = IMAGE, **wanted: Any) -> PodId:
        async with self.ctx.db.begin() as tx:
            made = await service.create(tx, self.ctx, self.account, PodWanted(image, **wanted))
        return made.pod.pod_id

    async def stop(self, pod_id: PodId) -> None:
        async with self.ctx.db.begin() as tx:
            await service.stop(tx, self.ctx, await self._pod(tx, pod_id))

    async def start(self, pod_id: PodId) -> None:
        async with self.ctx.db.begin() as tx:
            await service.start(tx, self.ctx, await self._pod(tx, pod_id))

    async def terminate(self, pod_id: PodId, *, delete_volumes: bool = False) -> None:
        async with self.ctx.db.begin() as tx:
            pod = await self._pod(tx, pod_id)
            await service.terminate(tx, self.ctx, pod, delete_volumes=delete_volumes)

    async def tick(self, ctx: Ctx | None = None, owner: str = "worker-1") -> None:
        """What the worker's ticks do, once."""
        mine = ctx or self.ctx
        await self.rig.reconcile()
        claims = pods.PodClaims(VAULT, VAULT.sealer)
        await deployments.reconcile_due(mine, self.catalog, VAULT, owner=owner, own_work=claims)
        await pods.reconcile_pods(mine, owner=owner, grace_days=self.grace_days)

    async def obey(self, *agents: Agent, state: LeaseSeenState = LeaseSeenState.READY) -> None:
        """Each agent does what it is told, its disk included, and says so."""
        await self.rig.front.look()
        for agent in agents or tuple(self.rig.agents):
            agent.generation = 0
            told = (await agent.beat(*agent.last_seen)).desired
            assert told is not None
            for volume_id in told.drop_volumes:
                agent.volumes.pop(volume_id, None)
            done = [self._done(agent, lease, state) for lease in told.leases]
            await agent.beat(*done)
            agent.last_seen = tuple(s for s in done if s.state is not LeaseSeenState.GONE)
        await self.watch.flush()

    def _done(self, agent: Agent, lease: DesiredLease, state: LeaseSeenState) -> LeaseSeen:
        runs = lease.state is DesiredState.RUN
        self.told[lease.lease_id] = lease.launch
        if runs and state is LeaseSeenState.READY:
            for mount in lease.launch.volumes:
                agent.volumes.setdefault(mount.volume_id, VOLUME_MIB)
        seen = state if runs else LeaseSeenState.GONE
        return LeaseSeen(lease_id=lease.lease_id, epoch=lease.epoch, state=seen, port=9000)

    async def settle(self, rounds: int = 4, seconds: float = 3.0) -> None:
        """Time passes, agents obey, ticks come."""
        for _ in range(rounds):
            await self.tick()
            await self.obey()
            await self.tick()
            await self.pass_time(seconds)

    async def pass_time(self, seconds: float) -> None:
        """All agents beat meanwhile, seldom where it takes long; what they tell is written."""
        if seconds <= 300:
            await self.rig.pass_time(seconds, *self.rig.agents)
            await self.watch.flush()
            return
        for number in range(int(seconds // STRIDE_SECONDS)):
            self.clock.advance(STRIDE_SECONDS)
            for agent in self.rig.agents:
                if number % 20 == 0:
                    await agent.open_session()
                await agent.beat(*agent.last_seen)
            await self.rig.front.flush()
            await self.watch.flush()

    async def jump(self, days: float) -> None:
        """Days in which nothing was heard."""
        self.clock.advance(days * 86_400)
        await self.rig.front.flush()
        for agent in self.rig.agents:
            await agent.open_session()
            await agent.beat(*agent.last_seen)
        await self.rig.front.flush()

    async def running(self, image: str = IMAGE, **wanted: Any) -> PodId:
        made = await self.create(image, **wanted)
        await self.settle(2)
        assert await self.state(made) == "running"
        return made

    async def running_ids(self) -> list[PodId]:
        """Every pod that is, the oldest first."""
        async with self.ctx.db.begin() as tx:
            return sorted(pod.pod_id for pod in await store.live(tx))

    async def look(self, pod_id: PodId) -> Whole:
        async with self.ctx.db.begin() as tx:
            return await service.whole(tx, await self._pod(tx, pod_id))

    async def state(self, pod_id: PodId) -> str:
        return (await self.look(pod_id)).state.value

    async def volume(self, volume_id: VolumeId) -> Volume:
        async with self.ctx.db.begin() as tx:
            found = await volume_store.held(tx, volume_id)
        assert found is not None
        return found

    async def only_volume(self, pod_id: PodId) -> Volume:
        (row,) = (await self.look(pod_id)).volumes
        return row

    async def launch(self, pod_id: PodId) -> LaunchSpec:
        """As the node was told."""
        run = (await self.look(pod_id)).runs.run
        assert run is not None
        return self.told[str(run.lease_id)]

    async def prove(self) -> None:
        """The books close."""
        assert [proof.name for proof in await billing.prove(self.ctx) if not proof.holds] == []

    async def _pod(self, tx: Tx, pod_id: PodId) -> Pod:
        found = await store.find(tx, pod_id, lock=True)
        assert found is not None
        return found


def data(size_gib: int | None = 10, path: str = "/data", name: str = "data") -> Mount:
    """A volume by its name, made where there is none."""
    return Mount(path, name=name, size_gib=size_gib)


async def unclosed_leases(ctx: Ctx) -> int:
    async with ctx.db.begin() as tx:
        found = await tx.scalar(text("SELECT count(*) FROM lease WHERE state <> 'closed'"))
    return int(found or 0)


@pytest.fixture
async def yard(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Yard]:
    watch = pods.VolumeWatch(ctx)
    async with brain_front(
        ctx, clock, valkey_url, watcher=DeploymentWatch(ctx), parts=(watch,)
    ) as rig:
        made = Yard(rig, ctx, clock, watch, ctx.ids.new(AccountId))
        await give(ctx, made.account)
        yield made
