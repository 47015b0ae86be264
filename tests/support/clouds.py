"""Deployments over emulated clouds: House with one RunPod account, machines driven by hand."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, TypeVar

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from brain import offers, provisioning
from brain.adapters.clouds.runpod import RestRunPod
from brain.bridges import DeploymentWatch
from brain.clouds import Cloud
from brain.deployments.models import Replica
from brain.plumbing import Ctx
from brain.provisioning import Looks, Terms, store
from brain.provisioning.models import Intent
from catalog import load_catalog
from kernel.clock import ManualClock
from kernel.ids import AccountId, DeploymentId
from standins.clouds import runpod
from standins.clouds.asgi import App
from standins.clouds.faults import Fault, FaultKind, Operation
from standins.clouds.machine import Machine
from standins.clouds.rules import Rules
from standins.clouds.world import World
from tests.support.deployments import House, give
from tests.support.fleet import Agent, brain_front, gpu

KEY = "stand-in"
STUCK_SECONDS, STUCK_LOOKS = 0.05, 6
T = TypeVar("T")
INSTALLATION = "tests"
TERMS = Terms(INSTALLATION, "http://brain.test", "0" * 64, b"t" * 32, "an/image")


async def driven(clock: ManualClock, work: Coroutine[Any, Any, T]) -> T:
    """What ``work`` gives. Time passes for an adapter that waits between two tries, and only for
    it: whoever waits for the clock must have been the same at several looks, as work that takes
    long on a busy machine waits for no clock."""
    task, same = asyncio.ensure_future(work), 0
    before: tuple[int, ...] = ()
    while not (await asyncio.wait({task}, timeout=STUCK_SECONDS))[0]:
        waiting = tuple(number for _, number, future in clock._sleepers if not future.done())
        same = same + 1 if waiting and waiting == before else 0
        before = waiting
        if same == STUCK_LOOKS:
            clock.advance(1)
            same = 0
    return task.result()


def adapter(clock: ManualClock, app: App, seed: int = 1) -> RestRunPod:
    return RestRunPod(
        base_url="http://127.0.0.1:1/v2",
        graphql_url="http://127.0.0.1:1/graphql",
        key=KEY,
        clock=clock,
        chance=random.Random(seed),
        transport=httpx.ASGITransport(app=app),
    )


@dataclass
class Sky:
    """A house whose deployments can be rented machines for."""

    house: House
    world: World
    clouds: dict[str, Cloud]
    agents: dict[str, Agent] = field(default_factory=dict)
    looks: Looks = field(default_factory=Looks)

    @property
    def ctx(self) -> Ctx:
        return self.house.ctx

    @property
    def clock(self) -> ManualClock:
        return self.house.clock

    async def step(self, ctx: Ctx | None = None) -> int:
        """One pass over the intents."""
        return await driven(
            self.clock,
            provisioning.reconcile_intents(
                ctx or self.ctx,
                self.clouds,
                TERMS,
                owner="w",
                watcher=self.house.rig.front.watcher,
                looks=self.looks,
            ),
        )

    async def sweep(self) -> None:
        await driven(self.clock, provisioning.sweep(self.ctx, self.clouds, TERMS))

    async def tick(self) -> None:
        await self.house.tick()
        await self.step()

    async def pass_time(
        self, seconds: float, *, speak: bool = True, step: float | None = None
    ) -> None:
        """Ticks, with every machine that runs speaking as its agent would; seldom where much
        time passes."""
        each = step or (1 if seconds <= 30 else 4)
        for _ in range(round(seconds / each)):
            await self.tick()
            if speak:
                await self.speak()
            self.clock.advance(each)
            await self.house.rig.front.flush()

    async def until(self, done: Callable[[], object], seconds: int = 60) -> None:
        for _ in range(seconds):
            if done():
                return
            await self.pass_time(1)
        assert done(), f"not so after {seconds} s"

    async def speak(self) -> None:
        """Agents of running machines enrol, and do what they are told."""
        for machine in self.world.alive():
            if str(machine.state) != "running":
                continue
            if machine.machine_id not in self.agents:
                await self._enrol(machine)
            agent = self.agents[machine.machine_id]
            if agent.session is not None and not await self.revoked(agent):
                await self.house.obey(agent)

    async def revoked(self, agent: Agent) -> bool:
        async with self.ctx.db.begin() as tx:
            from brain.marketplace import node_terms

            terms = await node_terms(tx, agent.node_id)
        return terms is None or terms.revoked

    async def _enrol(self, machine: Machine) -> None:
        rig = self.house.rig
        made = [
            gpu(f"GPU-{machine.machine_id}-{place}", memory_mib=machine.stock.vram_mib)
            for place in range(machine.rental.gpus)
        ]
        agent = Agent(rig, Ed25519PrivateKey.generate(), made, start_id=machine.machine_id)
        assert machine.rental.program is not None
        await agent.enrol(machine.rental.program.env["JOIN_TOKEN"])
        if not await self.revoked(agent):  # else it is sent away, and ends
            await agent.open_session()
        self.agents[machine.machine_id] = agent

    async def intents(self) -> list[Intent]:
        async with self.ctx.db.begin() as tx:
            from sqlalchemy import select

            return list(await tx.scalars(select(Intent).order_by(Intent.intent_id)))

    async def intent(self) -> Intent:
        """The newest."""
        return (await self.intents())[-1]

    async def deploy(self, **wanted: object) -> DeploymentId:
        await driven(self.clock, offers.refresh_due(self.ctx, self.clouds))
        return await self.house.deploy(**wanted)  # type: ignore[arg-type]

    async def serving(self) -> DeploymentId:
        """A deployment that serves from a rented machine."""
        made = await self.deploy()
        for _ in range(30):
            await self.pass_time(1)
            found = await self.intents()
            if found and found[-1].state == "serving":
                return made
        raise AssertionError(f"{[(i.state, i.last_error) for i in found]}")

    async def replica(self, deployment_id: DeploymentId) -> Replica:
        return (await self.house.replicas(deployment_id))[-1]

    def fail(self, kind: FaultKind, operation: Operation | None = None, **more: object) -> None:
        self.world.add_faults([Fault(kind, operation, **more)])  # type: ignore[arg-type]


@pytest.fixture
async def sky(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Sky]:
    async with brain_front(ctx, clock, valkey_url, watcher=DeploymentWatch(ctx)) as rig:
        house = House(rig, ctx, clock, load_catalog(), ctx.ids.new(AccountId))
        await give(ctx, house.account, "1000")
        rules = Rules(
            accept_seconds=(0.5, 0.5),
            boot_seconds=(3.0, 3.0),
            terminate_seconds=(1.0, 1.0),
            listing_lag_seconds=0.0,
            rate_limits=False,
        )
        world = runpod.make_world(clock, random.Random(1), None, rules=rules)
        cloud = adapter(clock, runpod.make_app(world, api_key=KEY))
        yield Sky(house, world, {cloud.name: cloud})
        await cloud.close()


__all__ = ["KEY", "TERMS", "Sky", "adapter", "sky", "store"]
