"""Which agents a brain brings to its file, when it leaves them alone, and what it shows."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from brain.marketplace import AgentUpdates
from brain.marketplace.agent_file import AgentFile
from brain.marketplace.models import NodeUpdate
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.wire import encode
from kernel.wire.agent import BeatAnswer, LeaseSeenState
from tests.support.fleet import Agent, Rig, brain_front

pytestmark = pytest.mark.feature("C8")
NEW = AgentFile(b"new", "b" * 64, "1.0", ("cp311-x86_64",))
OLD = "a" * 64


@dataclass
class Fleet:
    rig: Rig
    updates: AgentUpdates

    async def beat(self, agent: Agent, *leases: Any, **said: Any) -> BeatAnswer:
        """A beat of an agent that runs from a file."""
        message = agent.message(*leases)
        message.agent_file = OLD
        for name, value in said.items():
            setattr(message, name, value)
        answer = await agent.send("/agent/v1/beat", encode(message))
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=BeatAnswer)

    async def outcomes(self) -> dict[str, str]:
        await self.updates.flush()
        async with self.rig.ctx.db.begin() as tx:
            rows = await tx.scalars(select(NodeUpdate))
            return {str(row.node_id): row.outcome for row in rows}


@pytest.fixture
async def fleet(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Fleet]:
    """A brain whose file is NEW and whose wave takes a quarter of the nodes each hour."""
    async with brain_front(ctx, clock, valkey_url) as rig:
        updates = AgentUpdates(ctx, lambda: NEW, 25)
        await updates.load()
        rig.front.parts = (updates,)
        yield Fleet(rig, updates)


async def test_the_whole_fleet_is_told_in_four_hours_and_nobody_at_first(fleet: Fleet) -> None:
    agents = [await fleet.rig.agent() for _ in range(6)]
    assert [(await fleet.beat(agent)).update_to for agent in agents] == [None] * 6
    told_by_hour = []
    for _ in range(4):
        fleet.rig.clock.advance(3600)
        for agent in agents:
            await agent.open_session()
        told_by_hour.append(sum([bool((await fleet.beat(x)).update_to) for x in agents]))
    assert told_by_hour == sorted(told_by_hour)
    assert told_by_hour[-1] == 6
    assert set((await fleet.outcomes()).values()) == {"told"}


async def after_the_wave(fleet: Fleet) -> Agent:
    fleet.rig.clock.advance(5 * 3600)
    return await fleet.rig.agent()


async def test_a_node_that_starts_or_ends_work_is_left_alone(fleet: Fleet) -> None:
    agent = await after_the_wave(fleet)
    lease = await fleet.rig.claim(agent)
    for state in (LeaseSeenState.STARTING, LeaseSeenState.STOPPING):
        assert (await fleet.beat(agent, agent.seen(lease, state))).update_to is None
    ready = agent.seen(lease, LeaseSeenState.READY)
    assert (await fleet.beat(agent, ready)).update_to == NEW.sha256


async def test_who_took_it_back_is_not_asked_again(fleet: Fleet) -> None:
    agent = await after_the_wave(fleet)
    assert (await fleet.beat(agent)).update_to == NEW.sha256
    failed = {"update_failed": NEW.sha256, "update_reason": "it ended 3 times"}
    assert (await fleet.beat(agent, **failed)).update_to is None
    assert await fleet.outcomes() == {str(agent.node_id): "failed"}
    other = {"update_failed": "c" * 64}
    assert (await fleet.beat(agent, **other)).update_to == NEW.sha256


async def test_who_is_there_is_done_and_told_nothing(fleet: Fleet) -> None:
    agent = await after_the_wave(fleet)
    await fleet.beat(agent)
    assert (await fleet.beat(agent, agent_file=NEW.sha256)).update_to is None
    assert await fleet.outcomes() == {str(agent.node_id): "done"}


async def test_an_agent_without_a_file_is_told_nothing(fleet: Fleet) -> None:
    agent = await after_the_wave(fleet)
    assert (await fleet.beat(agent, agent_file="")).update_to is None
    assert await fleet.outcomes() == {}


async def test_three_failures_end_the_wave(fleet: Fleet) -> None:
    agents = [await after_the_wave(fleet) for _ in range(4)]
    for agent in agents[:3]:
        await agent.open_session()
        await fleet.beat(agent, update_failed=NEW.sha256)
    assert (await fleet.beat(agents[3])).update_to == NEW.sha256
    await fleet.updates.flush()
    assert (await fleet.beat(agents[3])).update_to is None


async def test_a_brain_that_starts_anew_goes_on_with_its_wave(fleet: Fleet) -> None:
    fleet.rig.clock.advance(5 * 3600)
    again = AgentUpdates(fleet.rig.ctx, lambda: NEW, 25)
    await again.load()
    fleet.rig.front.parts = (again,)
    agent = await fleet.rig.agent()
    assert (await fleet.beat(agent)).update_to == NEW.sha256


async def test_going_back_to_an_older_file_is_a_wave_of_its_own(fleet: Fleet) -> None:
    fleet.rig.clock.advance(5 * 3600)
    older = AgentFile(b"older", "d" * 64, "0.9", ())
    for file in (older, NEW):
        again = AgentUpdates(fleet.rig.ctx, lambda file=file: file, 25)  # type: ignore[misc]
        await again.load()
        fleet.rig.clock.advance(1)
    fleet.rig.front.parts = (again,)
    agent = await fleet.rig.agent()
    assert (await fleet.beat(agent)).update_to is None
