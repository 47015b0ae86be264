"""Agents that are cut off, restarted and rebooted at random, against the real brain and database:
no GPU is offered while an agent still works on it, and what is asked comes to be."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

import pytest
from sqlalchemy import text

from brain import fleet
from brain.fleet import LeaseView
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.errors import NoCapacity
from kernel.ids import LeaseId
from kernel.wire.agent import BeatAnswer, DesiredState, LeaseSeen, LeaseSeenState
from tests.support.fleet import Agent, Rig, brain_front

TTL_SECONDS = 40
STEP_SECONDS = 4.0
STEPS = 45
SETTLE_STEPS = 20  # twice as long as a lease lives unheard
AGENTS = 4


@dataclass
class Work:
    epoch: int
    gpu_uuids: tuple[str, ...]
    expires_ns: int


@dataclass
class Host:
    """An agent as the protocol wants it, on a network that comes and goes."""

    agent: Agent
    works: dict[str, Work] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    cut_off: bool = False

    @property
    def now_ns(self) -> int:
        return self.agent.rig.clock.monotonic_ns()

    def expire(self) -> None:
        """The dead man's switch: no renewal, no work."""
        for key in [k for k, work in self.works.items() if work.expires_ns <= self.now_ns]:
            self.gone[key] = self.works.pop(key).epoch

    async def beat(self, *, answer_lost: bool) -> None:
        self.expire()
        if self.cut_off:
            return
        sent_ns, before = self.now_ns, self.agent.generation
        ready = [LeaseSeen(k, w.epoch, LeaseSeenState.READY) for k, w in self.works.items()]
        gone = [LeaseSeen(k, epoch, LeaseSeenState.GONE) for k, epoch in self.gone.items()]
        told = await self.agent.beat(*ready, *gone)
        if answer_lost:
            self.agent.generation = before
            return
        self._apply(told, sent_ns)

    def _apply(self, told: BeatAnswer, sent_ns: int) -> None:
        if told.desired is not None:
            wanted = {lease.lease_id: lease for lease in told.desired.leases}
            for key in [k for k in self.works if k not in wanted]:
                del self.works[key]
            self.gone = {k: epoch for k, epoch in self.gone.items() if k in wanted}
            for key, lease in wanted.items():
                if lease.state is DesiredState.STOP:
                    self.works.pop(key, None)
                    self.gone[key] = lease.epoch
                elif key not in self.works and key not in self.gone:
                    ends = sent_ns + lease.ttl_seconds * NS
                    self.works[key] = Work(lease.epoch, tuple(lease.gpu_uuids), ends)
        for key in told.renewed:
            if key in self.works:
                self.works[key].expires_ns = sent_ns + TTL_SECONDS * NS

    async def reboot(self, number: int) -> None:
        self.works.clear()
        self.gone.clear()
        self.cut_off = False
        await self.agent.restart(boot_id=f"boot-{number}")


async def free_uuids(ctx: Ctx) -> set[str]:
    async with ctx.db.begin() as tx:
        found = await tx.scalars(
            text(
                "SELECT gpu_uuid FROM node_gpu g WHERE NOT EXISTS (SELECT 1 FROM lease_gpu l"
                " WHERE l.live AND l.gpu_uuid = g.gpu_uuid)"
            )
        )
        return set(found)


async def assert_nothing_sold_twice(ctx: Ctx, hosts: list[Host]) -> None:
    worked = [uuid for host in hosts for work in host.works.values() for uuid in work.gpu_uuids]
    assert len(worked) == len(set(worked)), "two leases work on one GPU"
    assert not set(worked) & await free_uuids(ctx), "a GPU is offered that someone works on"


@dataclass
class World:
    rig: Rig
    hosts: list[Host]
    chance: Random
    open: list[LeaseView] = field(default_factory=list)
    boots: int = 1

    async def step(self) -> None:
        await self._event()
        self.rig.clock.advance(STEP_SECONDS)
        for host in self.hosts:
            await host.beat(answer_lost=self.chance.random() < 0.1)
        if self.chance.random() < 0.9:
            await self.rig.front.flush()
        if self.chance.random() < 0.7:
            await self.rig.reconcile()
        for host in self.hosts:
            host.expire()
        await assert_nothing_sold_twice(self.rig.ctx, self.hosts)

    async def _event(self) -> None:
        host = self.chance.choice(self.hosts)
        match self.chance.randrange(10):
            case 0 | 1 | 2 | 3:
                await self._claim(host)
            case 4 | 5 if self.open:
                lease = self.open.pop(self.chance.randrange(len(self.open)))
                await self.rig.stop_lease(lease.lease_id)
            case 6:
                host.cut_off = True
            case 7 | 8:
                host.cut_off = False
            case 9 if not host.cut_off:
                self.boots += 1
                await host.reboot(self.boots)

    async def _claim(self, host: Host) -> None:
        try:
            count = self.chance.randint(1, 2)
            made = await self.rig.claim(host.agent, count, ttl_seconds=TTL_SECONDS)
        except NoCapacity:
            return
        self.open.append(made)

    async def settle(self) -> None:
        """Peace: everyone is heard, every answer arrives."""
        for _ in range(SETTLE_STEPS):
            self.rig.clock.advance(STEP_SECONDS)
            for host in self.hosts:
                host.cut_off = False
                await host.beat(answer_lost=False)
            await self.rig.front.flush()
            await self.rig.reconcile()


@pytest.mark.feature("C5")
@pytest.mark.feature("F3")
async def test_no_gpu_is_sold_twice_whatever_is_cut_off(
    ctx: Ctx, clock: ManualClock, valkey_url: str, seed: int
) -> None:
    async with brain_front(ctx, clock, valkey_url) as rig:
        hosts = [Host(await rig.agent(count=2)) for _ in range(AGENTS)]
        world = World(rig, hosts, Random(seed))
        for _ in range(STEPS):
            await world.step()
        await world.settle()
        await assert_nothing_sold_twice(ctx, hosts)
        await assert_what_is_open_runs(ctx, hosts)


async def assert_what_is_open_runs(ctx: Ctx, hosts: list[Host]) -> None:
    async with ctx.db.begin() as tx:
        live = set(await tx.scalars(text("SELECT lease_id FROM lease WHERE state <> 'closed'")))
        views = [await fleet.lease(tx, LeaseId(key)) for key in live]
    assert {key for host in hosts for key in host.works} == live
    assert all(view is not None and view.seen_state == "ready" for view in views)
