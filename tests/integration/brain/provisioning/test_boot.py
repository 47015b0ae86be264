"""A machine that boots slowly, one that never does, and what a rented GPU-hour costs."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import select, text

from brain import provisioning
from brain.provisioning import Rent
from brain.provisioning.models import Intent
from kernel.errors import NoCapacity
from kernel.ids import DeploymentId, ReplicaId
from standins.clouds.faults import FaultKind, Operation
from tests.support.clouds import Sky
from tests.support.fleet import LAUNCH


async def minutes(sky: Sky, count: int) -> None:
    """Long stretches with a tick each minute; no machine speaks."""
    for _ in range(count):
        await sky.tick()
        sky.clock.advance(60)
    await sky.tick()


@pytest.mark.feature("B7")
async def test_a_slow_boot_is_waited_for_and_its_stage_is_told(sky: Sky) -> None:
    sky.world.rules = replace(sky.world.rules, boot_seconds=(400.0, 400.0))
    made = await sky.deploy()
    await minutes(sky, 5)
    replica = await sky.replica(made)
    assert replica.state == "claimed"
    assert "boots since" in replica.waiting_reason
    assert "must speak by" in replica.waiting_reason
    await minutes(sky, 2)
    await sky.pass_time(12, step=2)
    assert await sky.house.state(made) == "running"
    assert len(await sky.intents()) == 1


@pytest.mark.feature("B6")
async def test_a_boot_without_end_is_given_up_at_the_clouds_deadline(sky: Sky) -> None:
    sky.fail(FaultKind.ENDLESS_BOOT, Operation.CREATE)
    made = await sky.deploy()
    await minutes(sky, 19)
    assert len(await sky.intents()) == 1
    await minutes(sky, 3)
    first = (await sky.intents())[0]
    assert first.state == "terminated"
    assert "in time" in (await sky.house.replicas(made))[0].state_reason


@pytest.mark.feature("B7")
async def test_the_renter_pays_the_clouds_price_and_a_fifth_from_the_load_on(sky: Sky) -> None:
    await sky.serving()
    intent = await sky.intent()
    offered = int(str(intent.offer["price_nano"]))
    assert intent.price_nano == offered * 12 // 10
    async with sky.ctx.db.begin() as tx:
        terms = text("SELECT renter_rate_nano, loading_ns, opened_ns FROM meter_lease")
        rate, loading_ns, opened_ns = (await tx.execute(terms)).one()
    assert rate == intent.price_nano
    assert loading_ns > opened_ns  # its provision was free


async def test_a_wish_that_is_too_dear_leaves_nothing(sky: Sky) -> None:
    await sky.deploy()
    await sky.tick()
    [intent] = await sky.intents()
    wanted = Rent(
        replica_id=sky.ctx.ids.new(ReplicaId),
        deployment_id=sky.ctx.ids.new(DeploymentId),
        cloud="runpod",
        offer_key=str(intent.offer["key"]),
        gpu_count=1,
        launch=LAUNCH,
        payer=sky.house.account,
        price_nano_max=intent.price_nano - 1,
    )
    with pytest.raises(NoCapacity, match="is the most"):
        async with sky.ctx.db.begin() as tx:
            await provisioning.rent(tx, wanted, now_ns=sky.clock.now_ns(), ids=sky.ctx.ids)
    async with sky.ctx.db.begin() as tx:
        assert len(list(await tx.scalars(select(Intent.intent_id)))) == 1
