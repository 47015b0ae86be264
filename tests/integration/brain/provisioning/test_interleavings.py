"""Any interleaving of what owners, machines and clouds do ends with no machine that nobody owns."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text

from kernel.errors import Conflict
from kernel.ids import DeploymentId
from standins.clouds.faults import FaultKind, Operation, When
from standins.clouds.machine import State
from tests.support.clouds import Sky

ROUNDS = 2
STEPS = 16

# What there must be nothing of when every owner stopped and time passed.
LEFT = """
SELECT 'intent ' || intent_id FROM provision_intent WHERE state NOT IN ('terminated', 'absent')
UNION ALL SELECT 'lease ' || lease_id FROM lease WHERE state <> 'closed'
UNION ALL SELECT 'gpu ' || gpu_uuid FROM lease_gpu WHERE live
UNION ALL SELECT 'replica ' || replica_id FROM replica WHERE state NOT IN ('stopped', 'failed')
"""


@dataclass
class Story:
    """One interleaving, and what happened in it."""

    sky: Sky
    chance: random.Random
    made: list[DeploymentId] = field(default_factory=list)

    async def create(self) -> None:
        name = f"made-{len(self.made)}-{self.chance.random()}"
        self.made.append(await self.sky.deploy(name=name, replicas=self.chance.randint(1, 2)))

    async def cancel(self) -> None:
        if self.made:
            await self.sky.house.stop(self.chance.choice(self.made))

    async def scale(self) -> None:
        if self.made:
            wanted = self.chance.randint(0, 2)
            try:
                await self.sky.house.scale(self.chance.choice(self.made), wanted)
            except Conflict:
                return  # it is stopped

    async def tick(self) -> None:
        await self.sky.tick()

    async def wait(self) -> None:
        await self.sky.pass_time(self.chance.choice([1, 3]))

    async def interrupt(self) -> None:
        running = [m for m in self.sky.world.alive() if m.state is State.RUNNING]
        if running:
            self.sky.world.interrupt(self.chance.choice(running).machine_id)

    async def vanish(self) -> None:
        running = [m for m in self.sky.world.alive() if m.state is State.RUNNING]
        if running:
            self.sky.world.terminate(self.chance.choice(running).machine_id)

    async def fault(self) -> None:
        kind, operation, when = self.chance.choice(
            [
                (FaultKind.CUT, Operation.CREATE, When.AFTER),
                (FaultKind.NO_CAPACITY, Operation.CREATE, When.BEFORE),
                (FaultKind.BROKEN, Operation.TERMINATE, When.AFTER),
                (FaultKind.HTML, Operation.LIST, When.BEFORE),
                (FaultKind.FAILED_BOOT, Operation.CREATE, When.BEFORE),
            ]
        )
        more = {"status": 502} if kind is FaultKind.BROKEN else {}
        self.sky.fail(kind, operation, when=when, seconds=1, **more)

    async def end(self) -> None:
        """The owners stop everything, and the clouds behave from now on."""
        self.sky.world.faults.clear()
        for made in self.made:
            await self.sky.house.stop(made)
        for _ in range(8):
            await self.sky.pass_time(32, step=4)
            if not self.sky.world.alive() and not await left(self.sky):
                return


async def left(sky: Sky) -> list[str]:
    async with sky.ctx.db.begin() as tx:
        return list(await tx.scalars(text(LEFT)))


@pytest.mark.slow
@pytest.mark.feature("B7")
async def test_no_interleaving_leaves_a_machine_that_nobody_owns(sky: Sky, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(ROUNDS):
        story = Story(sky, chance)
        acts: list[Callable[[], Awaitable[None]]] = [
            story.create, story.cancel, story.scale, story.tick, story.wait, story.wait,
            story.interrupt, story.vanish, story.fault,
        ]  # fmt: skip
        await story.create()
        for _ in range(STEPS):
            await chance.choice(acts)()
        await story.end()
        assert await left(sky) == [], number
        assert sky.world.alive() == [], number
        assert {await sky.house.state(made) for made in story.made} == {"stopped"}
