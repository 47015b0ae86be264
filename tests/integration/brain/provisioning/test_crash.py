"""Whatever dies between the wish and the row, one machine is made and found again."""

from __future__ import annotations

from dataclasses import replace

import pytest

from brain.plumbing.points import Killed
from standins.clouds.faults import FaultKind, Operation, When
from tests.support.clouds import Sky


class DeathAt:
    def __init__(self, name: str) -> None:
        self.name = name
        self.died = False

    async def reach(self, name: str) -> None:
        if name == self.name and not self.died:
            self.died = True
            raise Killed(name)


@pytest.mark.feature("B7")
@pytest.mark.parametrize("point", ["order_written", "ordered", "order_saving"])
async def test_a_death_around_the_order_makes_one_machine(sky: Sky, point: str) -> None:
    made = await sky.deploy()
    await sky.house.tick()
    death = DeathAt(f"provisioning.{point}")
    with pytest.raises(BaseException) as died:  # the group or the death itself
        await sky.step(replace(sky.ctx, points=death))
    assert death.died, died
    assert (await sky.intent()).state == "creating"
    await sky.pass_time(300)
    assert await sky.house.state(made) == "running"
    assert len(sky.world.alive()) == 1


async def test_an_answer_that_was_lost_is_found_by_its_tag(sky: Sky) -> None:
    sky.fail(FaultKind.CUT, Operation.CREATE, when=When.AFTER)
    made = await sky.deploy()
    await sky.pass_time(30)
    assert (await sky.house.state(made), len(sky.world.machines)) == ("running", 1)


async def test_an_order_that_made_nothing_is_sent_anew_after_the_lag(sky: Sky) -> None:
    sky.fail(FaultKind.CUT, Operation.CREATE, when=When.BEFORE)
    await sky.deploy()
    await sky.pass_time(100)
    assert ((await sky.intent()).state, sky.world.alive()) == ("creating", [])
    await sky.pass_time(90)
    intent = await sky.intent()
    assert (intent.state, intent.attempt, len(sky.world.machines)) == ("serving", 2, 1)


async def test_of_two_machines_with_one_tag_the_oldest_is_kept(sky: Sky) -> None:
    sky.fail(FaultKind.DOUBLED, Operation.CREATE)
    await sky.deploy()
    await sky.pass_time(30)
    intent = await sky.intent()
    assert len(sky.world.machines) == 2
    assert [m.machine_id for m in sky.world.alive()] == [intent.machine_id]
