"""Three clouds, the cheapest without capacity, the next one throttling: a place is found soon, and
money is held for one attempt at a time. Emulated clouds behind the real adapters."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from brain.adapters.clouds.lambda_ import LambdaCloud
from brain.adapters.clouds.runpod import RestRunPod
from brain.adapters.clouds.vast import VastCloud
from brain.bridges import DeploymentWatch
from brain.clouds import Cloud
from brain.plumbing import Ctx
from catalog import load_catalog
from kernel.clock import ManualClock
from kernel.ids import AccountId
from standins.clouds import lambda_, runpod, vast
from standins.clouds.asgi import App
from standins.clouds.faults import Fault, FaultKind, Operation
from standins.clouds.world import World
from tests.support.clouds import Sky
from tests.support.deployments import House, give
from tests.support.fleet import brain_front

KEY = "stand-in"
ROUNDS, ROUNDS_MAX = 5, 15  # where chance throttles much in a few, more tell the median
CENT = 10_000_000


@dataclass
class Skies(Sky):
    """A house over several clouds."""

    worlds: list[World] = field(default_factory=list)
    most_holds: int = 0

    async def speak(self) -> None:
        for world in self.worlds:
            self.world = world
            await super().speak()
        self.most_holds = max(self.most_holds, await self.holds())

    async def holds(self) -> int:
        """Holds over attempts that have no machine that serves."""
        async with self.ctx.db.begin() as tx:
            found = await tx.scalar(
                text(
                    "SELECT count(*) FROM hold h JOIN meter_lease m ON m.lease_id = h.lease_id"
                    " WHERE h.state = 'open' AND m.ready_ns IS NULL AND m.closed_ns IS NULL"
                )
            )
        return int(found or 0)

    async def forget(self) -> None:
        """As if no cloud had ever been tried."""
        async with self.ctx.db.begin() as tx:
            for table in ("offer_block", "offer_history"):
                await tx.execute(text(f"DELETE FROM {table}"))

    async def placed(self, name: str) -> int:
        """How many orders it took until a machine served."""
        made = await self.deploy(name=name)
        for _ in range(90):
            await self.pass_time(1)
            if await self.house.state(made) == "running":
                return sum(i.attempt for i in await self.intents() if i.deployment_id == made)
        raise AssertionError([(i.cloud, i.state, i.last_error) for i in await self.intents()])


def _world(standin: Any, clock: ManualClock, key: str, cents: int, seed: int) -> World:
    """One kind of machine with one GPU, as many as one likes, at one price."""
    stock = next(one for one in standin.STOCKS if one.key.startswith(key))
    extra = {**stock.extra, "price_cents_per_hour": cents}
    stocks = [replace(stock, price_nano=cents * CENT, capacity=64, extra=extra)]
    world: World = standin.make_world(clock, random.Random(seed), None, stocks=stocks)
    world.rules = replace(
        world.rules,
        accept_seconds=(0.5, 0.5),
        boot_seconds=(3.0, 3.0),
        terminate_seconds=(1.0, 1.0),
        listing_lag_seconds=0.0,
        rate_limits=False,
    )
    return world


def _clouds(clock: ManualClock, worlds: dict[str, World]) -> dict[str, Cloud]:
    def ground(app: App) -> dict[str, Any]:
        transport = httpx.ASGITransport(app=app)
        return {"key": KEY, "clock": clock, "chance": random.Random(1), "transport": transport}

    at = "http://127.0.0.1:1"
    made: tuple[Cloud, ...] = (
        LambdaCloud(base_url=at, **ground(lambda_.make_app(worlds["lambda"], api_key=KEY))),
        VastCloud(base_url=at, **ground(vast.make_app(worlds["vast"], api_key=KEY))),
        RestRunPod(
            base_url=f"{at}/v2",
            graphql_url=f"{at}/graphql",
            **ground(runpod.make_app(worlds["runpod"], api_key=KEY)),
        ),
    )
    return {cloud.name: cloud for cloud in made}


@pytest.fixture
async def skies(ctx: Ctx, clock: ManualClock, valkey_url: str, seed: int) -> AsyncIterator[Skies]:
    async with brain_front(ctx, clock, valkey_url, watcher=DeploymentWatch(ctx)) as rig:
        house = House(rig, ctx, clock, load_catalog(), ctx.ids.new(AccountId))
        await give(ctx, house.account, "1000")
        worlds = {
            "lambda": _world(lambda_, clock, "gpu_1x_a10", 10, seed),
            "vast": _world(vast, clock, "10002", 20, seed),
            "runpod": _world(runpod, clock, "NVIDIA L4@", 60, seed),
        }
        worlds["lambda"].add_faults([Fault(FaultKind.NO_CAPACITY, Operation.CREATE, next=0)])
        worlds["vast"].add_faults([Fault(FaultKind.THROTTLED, next=0, rate=0.3)])
        clouds = _clouds(clock, worlds)
        yield Skies(house, worlds["runpod"], clouds, worlds=list(worlds.values()))
        for cloud in clouds.values():
            await cloud.close()


@pytest.mark.feature("B6")
async def test_a_place_is_found_within_three_orders_and_one_hold(skies: Skies) -> None:
    tries: list[int] = []
    while len(tries) < ROUNDS or (median(tries) > 3 and len(tries) < ROUNDS_MAX):
        tries.append(await skies.placed(f"model-{len(tries)}"))
        await skies.forget()
    tried = [(i.cloud, i.attempt) for i in await skies.intents()]
    print(f"orders until a machine served: {tries}, p50 {median(tries)}")
    assert median(tries) <= 3
    assert {"lambda", "vast"} <= {cloud for cloud, _ in tried}, "the cheap ones were tried first"
    assert skies.most_holds == 1


@pytest.mark.feature("F2")
async def test_what_was_learned_spares_the_next_one_the_first_cloud(skies: Skies) -> None:
    skies.worlds[1].faults.clear()  # else it is chance whether the first cloud rests long enough
    await skies.placed("first")
    tried = [i.cloud for i in await skies.intents()]
    assert tried[0] == "lambda"
    await skies.placed("second")
    assert "lambda" not in [i.cloud for i in await skies.intents()][len(tried) :]
