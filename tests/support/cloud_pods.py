"""Pods over emulated clouds that run renters' images by themselves: a yard with one account there,
ticks by hand, and no agent anywhere."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any

import httpx
from sqlalchemy import select

from brain import billing, deployments, offers, pods, provisioning
from brain.adapters.clouds.runpod import RestRunPod
from brain.adapters.clouds.vast import VastCloud
from brain.bridges import DeploymentWatch
from brain.clouds import Cloud
from brain.plumbing import Ctx
from brain.pods.schemas import PodOut
from brain.pods.views import Front, show_pod
from brain.provisioning import Looks
from brain.provisioning.models import Intent
from kernel.clock import ManualClock
from kernel.ids import AccountId, PodId
from standins.clouds import runpod, vast
from standins.clouds.faults import Fault, FaultKind, Operation
from standins.clouds.machine import Machine
from standins.clouds.rules import Rules
from standins.clouds.world import World
from tests.support.clouds import KEY, TERMS, driven
from tests.support.deployments import give
from tests.support.fleet import VAULT, brain_front
from tests.support.pods import Yard

STAND_INS: dict[str, ModuleType] = {"runpod": runpod, "vast": vast}
FRONT = Front("http://pods.test", "pods.test:2222")
RULES = Rules(
    accept_seconds=(0.5, 0.5),
    boot_seconds=(3.0, 3.0),
    terminate_seconds=(1.0, 1.0),
    listing_lag_seconds=0.0,
    rate_limits=False,
)


def _adapter(name: str, clock: ManualClock, world: World) -> Cloud:
    app = STAND_INS[name].make_app(world, api_key=KEY)
    reach: dict[str, Any] = {
        "key": KEY,
        "clock": clock,
        "chance": random.Random(1),
        "transport": httpx.ASGITransport(app=app),
    }
    root = "http://127.0.0.1:1"
    if name == "vast":
        return VastCloud(base_url=root, **reach)
    return RestRunPod(base_url=f"{root}/v2", graphql_url=f"{root}/graphql", **reach)


@dataclass
class CloudYard(Yard):
    """``cloud`` is where pods of ``clouds=True`` run; the world behind it is ``world``."""

    name: str = "runpod"
    world: World = None  # type: ignore[assignment]
    cloud: Cloud = None  # type: ignore[assignment]
    looks: Looks = field(default_factory=Looks)

    @property
    def clouds(self) -> dict[str, Cloud]:
        return {self.cloud.name: self.cloud}

    async def market(self) -> None:
        await driven(self.clock, offers.refresh_due(self.ctx, self.clouds))

    async def step(self, ctx: Ctx | None = None) -> int:
        """One pass over the rented machines."""
        return await driven(
            self.clock,
            provisioning.reconcile_intents(
                ctx or self.ctx,
                self.clouds,
                TERMS,
                owner="w",
                watcher=self.rig.front.watcher,
                looks=self.looks,
                vault=VAULT,
            ),
        )

    async def sweep(self) -> None:
        await driven(self.clock, provisioning.sweep(self.ctx, self.clouds, TERMS))

    async def tick(self, ctx: Ctx | None = None, owner: str = "worker-1") -> None:
        """What the worker's ticks do, once."""
        mine = ctx or self.ctx
        await self.rig.reconcile()
        await deployments.reconcile_due(
            mine,
            self.catalog,
            VAULT,
            owner=owner,
            own_work=pods.PodClaims(VAULT, VAULT.sealer),
            images=provisioning.CloudImages(self.clouds),
        )
        await pods.reconcile_pods(mine, owner=owner)
        await self.step(ctx)

    async def pass_time(self, seconds: float, step: float | None = None) -> None:
        """Ticks, and no agent speaks: seldom where much time passes."""
        each = step or (1 if seconds <= 10 else 2 if seconds <= 30 else 5)
        for _ in range(round(seconds / each)):
            await self.tick()
            self.clock.advance(each)
            await self.rig.front.flush()

    async def until(self, done: Callable[[Intent], bool], seconds: int = 90) -> Intent:
        """The newest rented machine, once it is as asked."""
        found: list[Intent] = []
        each = 1 if seconds <= 90 else 4
        for _ in range(seconds // each):
            found = await self.intents()
            if found and done(found[-1]):
                return found[-1]
            await self.pass_time(each, step=each)
        raise AssertionError(
            f"not so after {seconds} s: {[(i.state, i.last_error) for i in found]}"
        )

    async def until_state(self, pod_id: PodId, wanted: str, seconds: int = 90) -> None:
        each = 1 if seconds <= 90 else 4
        for _ in range(seconds // each):
            if await self.state(pod_id) == wanted:
                return
            await self.pass_time(each, step=each)
        shown = await self.shown(pod_id)
        raise AssertionError(f"{shown.state}, not {wanted}, after {seconds} s: {shown.reason}")

    async def rented(self, image: str = "busybox:1.36", **wanted: Any) -> PodId:
        """A pod that runs there."""
        await self.market()
        made = await self.create(image, clouds=True, **wanted)
        await self.until_state(made, "running")
        return made

    async def intents(self) -> list[Intent]:
        async with self.ctx.db.begin() as tx:
            return list(await tx.scalars(select(Intent).order_by(Intent.intent_id)))

    async def intent(self) -> Intent:
        """The newest."""
        return (await self.intents())[-1]

    def machine(self) -> Machine:
        """The only one that stands there."""
        (found,) = self.world.alive()
        return found

    async def shown(self, pod_id: PodId) -> PodOut:
        found = await self.look(pod_id)
        async with self.ctx.db.begin() as tx:
            return await show_pod(tx, found, FRONT)

    async def why(self, pod_id: PodId) -> list[str]:
        """What the last plan says of this cloud's offers."""
        found = await self.look(pod_id)
        async with self.ctx.db.begin() as tx:
            plan = await deployments.own_placement(tx, found.pod.deployment_id)
        assert plan is not None
        return sorted({r for c in plan.candidates if c["cloud"] for r in c["reasons"]})

    async def settle_books(self) -> None:
        """Every bill that can be final is; then the books close."""
        await billing.settle_due(self.ctx, billing.MeterPolicy())
        await self.prove()

    def fail(self, kind: FaultKind, operation: Operation | None = None, **more: object) -> None:
        self.world.add_faults([Fault(kind, operation, **more)])  # type: ignore[arg-type]


@asynccontextmanager
async def cloud_yard_at(
    name: str, ctx: Ctx, clock: ManualClock, valkey_url: str
) -> AsyncIterator[CloudYard]:
    watch = pods.VolumeWatch(ctx)
    async with brain_front(
        ctx, clock, valkey_url, watcher=DeploymentWatch(ctx), parts=(watch,)
    ) as rig:
        world = STAND_INS[name].make_world(clock, random.Random(1), None, rules=RULES)
        cloud = _adapter(name, clock, world)
        made = CloudYard(
            rig, ctx, clock, watch, ctx.ids.new(AccountId), name=name, world=world, cloud=cloud
        )
        await give(ctx, made.account, "1000")
        yield made
        await cloud.close()
