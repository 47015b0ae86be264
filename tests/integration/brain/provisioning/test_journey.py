"""A deployment that no node can serve gets a rented machine, and gives it back."""

from __future__ import annotations

import pytest

from brain.deployments import replica_row
from tests.support.clouds import Sky


@pytest.mark.feature("B7")
async def test_a_machine_is_rented_serves_and_is_given_back(sky: Sky) -> None:
    made = await sky.serving()
    assert await sky.house.state(made) == "running"
    intent = await sky.intent()
    replica = await sky.replica(made)
    assert (intent.replica_id, intent.attempt) == (replica.replica_id, 1)
    async with sky.ctx.db.begin() as tx:
        assert (await replica_row(tx, replica.replica_id)) is not None
    await sky.house.stop(made)
    await sky.pass_time(15)
    assert (await sky.intent()).state == "terminated"
    assert sky.world.alive() == []
    assert await sky.house.state(made) == "stopped"
