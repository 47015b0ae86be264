"""Any interleaving of what owners, nodes and ticks do ends with no lease that nobody owns."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest
from sqlalchemy import text

from kernel.errors import Conflict
from kernel.ids import DeploymentId
from kernel.wire.agent import LeaseSeenState
from tests.support.deployments import House
from tests.support.fleet import Agent

ROUNDS, ROUNDS_LONG = 3, 12
STEPS = 14
TTL_AND_GRACE_SECONDS = 620

# An open lease belongs to a replica that holds it; what has ended holds none.
ORPHANS = """
SELECT l.lease_id, l.state, r.state AS replica FROM lease l
LEFT JOIN replica r ON r.replica_id = l.replica_id AND r.lease_id = l.lease_id
WHERE (l.state = 'open' AND (r.state IS NULL OR r.state IN ('stopped', 'failed', 'stopping')))
"""
LEFT = """
SELECT 'lease ' || lease_id AS what FROM lease WHERE state <> 'closed'
UNION ALL SELECT 'gpu ' || gpu_uuid FROM lease_gpu WHERE live
UNION ALL SELECT 'replica ' || replica_id FROM replica WHERE state NOT IN ('stopped', 'failed')
UNION ALL SELECT 'twice ' || replica_id FROM lease GROUP BY replica_id HAVING count(*) > 1
"""


@dataclass
class World:
    """One interleaving: some nodes obey, some are gone, and owners change their minds."""

    house: House
    chance: random.Random
    gone: list[Agent] = field(default_factory=list)
    made: list[DeploymentId] = field(default_factory=list)
    story: list[str] = field(default_factory=list)

    @property
    def alive(self) -> list[Agent]:
        return [agent for agent in self.house.rig.agents if agent not in self.gone]

    async def create(self) -> None:
        name = f"made-{len(self.made)}-{self.chance.random()}"
        self.made.append(await self.house.deploy(name=name, replicas=self.chance.randint(1, 2)))

    async def cancel(self) -> None:
        if self.made:
            await self.house.stop(self.chance.choice(self.made))

    async def scale(self) -> None:
        if self.made:
            try:
                await self.house.scale(self.chance.choice(self.made), self.chance.randint(0, 2))
            except Conflict:
                self.story.append("it was stopped")

    async def update(self) -> None:
        if self.made:
            context = self.chance.randint(1000, 4000)
            terms = {"max_unavailable": self.chance.randint(0, 1), "progress_seconds": 60}
            made = self.chance.choice(self.made)
            await self.house.update(made, context=context, terms=terms)

    async def go_back(self) -> None:
        if self.made:
            try:
                await self.house.roll_back(self.chance.choice(self.made))
            except Conflict:
                self.story.append("there was nothing to go back to")

    async def tick(self) -> None:
        await self.house.tick()

    async def obey(self) -> None:
        await self.house.obey(*self.alive)

    async def load(self) -> None:
        await self.house.obey(*self.alive, state=LeaseSeenState.LOADING)

    async def crash(self) -> None:
        await self.house.obey(self.chance.choice(self.alive), state=LeaseSeenState.FAILED)

    async def lose(self) -> None:
        if len(self.alive) > 2:
            self.gone.append(self.chance.choice(self.alive))
        await self.house.rig.pass_time(26, *self.alive)

    async def come_back(self) -> None:
        self.gone.clear()

    async def wait(self) -> None:
        await self.house.rig.pass_time(self.chance.choice([1, 6, 31]), *self.alive)

    async def end(self) -> None:
        """The owners stop everything, and time passes until every lease has run out."""
        for made in self.made:
            await self.house.stop(made)
        for seconds in (10, 10, TTL_AND_GRACE_SECONDS, 10):
            await self.tick()
            await self.obey()
            await self.tick()
            await self.house.rig.pass_time(seconds, *self.alive)
        await self.tick()


async def found(house: House, query: str) -> list[tuple[object, ...]]:
    async with house.ctx.db.begin() as tx:
        return [tuple(row) for row in await tx.execute(text(query))]


@pytest.mark.slow
@pytest.mark.feature("D3")
@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(ROUNDS_LONG, marks=pytest.mark.long)])
async def test_no_interleaving_leaves_a_lease_that_nobody_owns(
    house: House, seed: int, rounds: int
) -> None:
    chance = random.Random(seed)
    for _ in range(4):
        await house.node(gpus=2)
    for number in range(rounds):
        world = World(house, chance)
        for agent in house.rig.agents:
            await agent.open_session()
        acts: list[Callable[[], Awaitable[None]]] = [
            world.create, world.cancel, world.scale, world.tick, world.tick, world.obey,
            world.load, world.crash, world.lose, world.come_back, world.wait,
            world.update, world.go_back,
        ]  # fmt: skip
        for _ in range(STEPS):
            act = chance.choice(acts)
            world.story.append(act.__name__)
            await act()
            assert not await found(house, ORPHANS), f"{world.story}"
        await world.end()
        left = await found(house, LEFT)
        assert not left, f"{number} {left} {world.story}"
        states = {await house.state(made) for made in world.made}
        assert states <= {"stopped"}, world.story
        world.gone.clear()
