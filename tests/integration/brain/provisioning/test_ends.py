"""How a machine ends: on time, against a cloud that will not, and whenever its owner stops."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from sqlalchemy import text

from brain.provisioning import money_at_risk, store
from standins.clouds.faults import FaultKind, Operation
from standins.clouds.machine import State
from tests.support.clouds import Sky


async def hours(sky: Sky, count: int) -> None:
    """Long stretches with a tick every ten minutes."""
    for _ in range(count * 6):
        sky.clock.advance(601)
        await sky.step()


async def alerts(sky: Sky) -> list[str]:
    async with sky.ctx.db.begin() as tx:
        return [alert.kind for alert in await store.open_alerts(tx)]


@pytest.mark.feature("B7")
async def test_a_cloud_that_ends_nothing_for_a_day_is_asked_on_and_its_cost_is_shown(
    sky: Sky,
) -> None:
    made = await sky.serving()
    sky.fail(FaultKind.DEAF, Operation.TERMINATE, next=10_000, seconds=700)
    await sky.house.stop(made)
    await sky.pass_time(12)
    before = sky.world.calls["terminate"]
    await hours(sky, 20)
    intent = await sky.intent()
    assert (intent.state, await alerts(sky)) == ("terminating", ["terminating"])
    assert 100 <= sky.world.calls["terminate"] - before <= 140  # once in ten minutes
    async with sky.ctx.db.begin() as tx:
        risk = await money_at_risk(tx, now_ns=sky.clock.now_ns())
    assert risk.accrued_nano >= 20 * intent.cost_nano_hour
    assert await sky.house.state(made) == "stopped"  # its owner waits for nothing
    sky.world.faults.clear()
    await hours(sky, 1)
    assert ((await sky.intent()).state, await alerts(sky)) == ("terminated", [])
    assert sky.world.alive() == []


@pytest.mark.feature("B7")
@pytest.mark.parametrize("seconds", [0, 1, 2, 4, 5])
async def test_a_stop_during_the_boot_leaves_no_machine(sky: Sky, seconds: int) -> None:
    made = await sky.deploy()
    await sky.pass_time(seconds)
    await sky.house.stop(made)
    await sky.pass_time(20)
    assert await sky.house.state(made) == "stopped"
    assert {i.state for i in await sky.intents()} <= {"terminated", "absent"}
    assert sky.world.alive() == []


@pytest.mark.feature("B7")
async def test_two_reconcilers_at_once_order_one_machine(sky: Sky) -> None:
    made = await sky.deploy(replicas=2)
    await sky.house.tick()
    await asyncio.gather(*(sky.step() for _ in range(4)))
    await sky.pass_time(15)
    assert await sky.house.state(made) == "running"
    assert sky.world.calls["create"] == 2


@pytest.mark.feature("B6")
async def test_a_machine_that_fails_to_boot_is_replaced_within_a_look(sky: Sky) -> None:
    sky.fail(FaultKind.FAILED_BOOT, Operation.CREATE, seconds=2)
    made = await sky.deploy()
    await sky.pass_time(25)
    first, second = await sky.intents()
    assert (first.state, second.state) == ("terminated", "serving")
    assert await sky.house.state(made) == "running"
    async with sky.ctx.db.begin() as tx:
        billed = await tx.scalar(
            text("SELECT billed_nano FROM meter_lease WHERE lease_id = :lease"),
            {"lease": first.lease_id},
        )
    assert billed == 0


@pytest.mark.feature("B6")
async def test_no_capacity_goes_on_to_the_next_offer(sky: Sky) -> None:
    sky.fail(FaultKind.NO_CAPACITY, Operation.CREATE)
    made = await sky.deploy()
    await sky.pass_time(20)
    states = [i.state for i in await sky.intents()]
    assert states == ["absent", "serving"]
    assert await sky.house.state(made) == "running"


@pytest.mark.feature("B6")
async def test_calls_that_are_too_many_are_put_off_not_failed(sky: Sky) -> None:
    sky.fail(FaultKind.THROTTLED, Operation.CREATE, retry_after=5)
    sky.fail(FaultKind.THROTTLED, Operation.LIST, next=3)
    made = await sky.deploy()
    await sky.pass_time(40, step=2)
    [intent] = await sky.intents()
    assert (intent.state, intent.attempt) == ("serving", 2)
    assert await sky.house.state(made) == "running"


@pytest.mark.feature("B6")
async def test_an_interrupted_machine_is_replaced_elsewhere(sky: Sky) -> None:
    made = await sky.serving()
    [machine] = sky.world.alive()
    sky.world.interrupt(machine.machine_id)
    await sky.pass_time(40, step=2)
    assert await sky.house.state(made) == "running"
    first, second = await sky.intents()
    assert (first.state, second.state) == ("terminated", "serving")
    assert first.offer["key"] != second.offer["key"]


@pytest.mark.feature("B7")
async def test_a_machine_that_the_cloud_lost_is_found_missing(sky: Sky) -> None:
    made = await sky.serving()
    [machine] = sky.world.alive()
    sky.world.terminate(machine.machine_id)  # somebody else did, in the cloud's own console
    await sky.pass_time(100)
    assert (await sky.intents())[0].state == "terminated"
    assert await sky.house.state(made) == "running"
    assert len(sky.world.alive()) == 1


async def test_a_machine_with_fewer_gpus_than_were_paid_for_is_given_back(sky: Sky) -> None:
    made = await sky.deploy()
    await sky.pass_time(2)
    [machine] = sky.world.alive()
    machine.stock = replace(machine.stock, vram_mib=1)
    await sky.pass_time(30)
    assert machine.state in (State.TERMINATING, State.GONE)
    first, second = (await sky.intents())[:2]
    assert (first.state, second.state) == ("terminated", "serving")
    assert await sky.house.state(made) == "running"


@pytest.mark.feature("B7")
async def test_refused_credentials_stop_orders_and_are_told(sky: Sky) -> None:
    sky.fail(FaultKind.UNAUTHORIZED, next=10_000)
    made = await sky.house.deploy()
    async with sky.ctx.db.begin() as tx:
        assert await store.accounts(tx) == []
    sky.world.faults.clear()
    await sky.deploy(name="another")
    sky.fail(FaultKind.UNAUTHORIZED, next=10_000)
    await sky.pass_time(10)
    async with sky.ctx.db.begin() as tx:
        [account] = await store.accounts(tx)
    assert (account.state, await alerts(sky)) == ("refused", ["account"])
    assert await sky.house.state(made) == "waiting"
    sky.world.faults.clear()
    await sky.sweep()
    async with sky.ctx.db.begin() as tx:
        [account] = await store.accounts(tx)
    assert (account.state, await alerts(sky)) == ("open", [])
