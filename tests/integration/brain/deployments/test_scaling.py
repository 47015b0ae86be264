"""Deployments that follow their load, over a small fleet: what gateways tell, decides."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from brain.deployments import scaling, service, store
from brain.deployments.models import DeploymentEvent
from brain.deployments.rows import deployment_row
from kernel.errors import BadInput
from kernel.ids import DeploymentId
from kernel.wire.gateway import Load, LoadReport
from tests.support.deployments import House

FOLLOWS = {"max_replicas": 3, "min_replicas": 0, "target_in_flight": 4}
QUICK = {**FOLLOWS, "scale_down_after_seconds": 10, "scale_to_zero_after_seconds": 30}


async def tell(house: House, made: DeploymentId, in_flight: float = 0, waiting: int = 0) -> bool:
    load = Load(made, in_flight=in_flight, waiting=waiting)
    return await scaling.reported(house.ctx, LoadReport("boot", [load]))


async def live(house: House, made: DeploymentId, **load: float) -> int:
    """Some seconds under this load; how many replicas are ready after it."""
    for _ in range(5):
        await tell(house, made, **load)  # type: ignore[arg-type]
        await house.settle(rounds=1)
    return [one.state for one in await house.replicas(made)].count("ready")


async def asleep(house: House) -> DeploymentId:
    await house.node(gpus=4)
    made = await house.ready(scaling=QUICK)
    for _ in range(6):
        await live(house, made)
    assert await house.state(made) == "asleep"
    return made


async def decisions(house: House, made: DeploymentId) -> list[tuple[str, str]]:
    async with house.ctx.db.begin() as tx:
        found = await tx.scalars(
            select(DeploymentEvent)
            .where(DeploymentEvent.deployment_id == made, DeploymentEvent.replica_id.is_(None))
            .order_by(DeploymentEvent.at_ns)
        )
        return [(one.what, one.reason) for one in found]


@pytest.mark.feature("D6")
async def test_it_grows_with_its_load_and_shrinks_after_the_window(house: House) -> None:
    await house.node(gpus=4)
    made = await house.ready(scaling=QUICK)
    assert await live(house, made, in_flight=9) == 3
    assert await live(house, made, in_flight=1) == 3 - 2
    said = await decisions(house, made)
    assert ("scaled up", "9.0 in flight + 0 waiting over 4 each: 1 to 3 (most 3)") in said


@pytest.mark.feature("D6")
async def test_idle_it_sleeps_and_a_waiting_request_wakes_it_in_one_tick(house: House) -> None:
    made = await asleep(house)
    assert await tell(house, made, waiting=1)
    await house.tick()
    assert [one.state for one in await house.replicas(made)][-1] == "claimed"
    assert (await decisions(house, made))[-1] == (
        "woken",
        "0.0 in flight + 1 waiting over 4 each: 0 to 1",
    )


@pytest.mark.feature("D6")
async def test_gateways_are_told_that_requests_may_wait(house: House) -> None:
    made = await asleep(house)
    async with house.ctx.db.begin() as tx:
        row = await deployment_row(tx, made)
    assert row is not None
    assert (row.waits, row.scaled) == (True, True)


@pytest.mark.feature("D6")
async def test_what_its_owner_put_to_sleep_is_not_woken(house: House) -> None:
    await house.node()
    made = await house.ready(scaling=QUICK)
    await house.scale(made, 0)
    await tell(house, made, waiting=5)
    await house.settle(rounds=3)
    async with house.ctx.db.begin() as tx:
        row = await deployment_row(tx, made)
    assert await house.state(made) == "asleep"
    assert row is not None
    assert not row.waits


@pytest.mark.feature("D6")
async def test_what_its_owner_stopped_is_not_woken(house: House) -> None:
    made = await asleep(house)
    await house.stop(made)
    await tell(house, made, waiting=5)
    await house.settle(rounds=3)
    assert await house.state(made) == "stopped"


@pytest.mark.feature("D6")
@pytest.mark.feature("D5")
async def test_a_spent_budget_is_stronger_than_a_waiting_request(house: House) -> None:
    made = await asleep(house)
    async with house.ctx.db.begin() as tx:
        row = await store.find(tx, made)
        assert row is not None
        row.budget_nano = 0
    await tell(house, made, waiting=5)
    await house.settle(rounds=2)
    assert await house.state(made) == "stopped"


@pytest.mark.feature("D6")
async def test_a_lost_report_is_made_good_by_the_next(house: House) -> None:
    made = await asleep(house)
    await tell(house, made, waiting=1)
    house.clock.advance(6)  # no brain looked, no gateway told: nobody waits any more
    await house.tick()
    assert await house.state(made) == "asleep"
    await tell(house, made, waiting=1)
    await house.tick()
    assert await house.state(made) != "asleep"


async def test_bounds_may_be_set_and_taken_back_later(house: House) -> None:
    await house.node(gpus=2)
    made = await house.ready()
    found = await house.update(made, terms={"max_replicas": 2, "min_replicas": 2})
    assert found.deployment.replicas == 2
    found = await house.update(made, terms={"max_replicas": None})
    assert (found.deployment.max_replicas, found.deployment.min_replicas) == (None, None)


async def test_bounds_that_cannot_hold_are_refused(house: House) -> None:
    with pytest.raises(BadInput, match="must not be more"):
        await house.deploy(scaling={"max_replicas": 2, "min_replicas": 3})
    with pytest.raises(BadInput, match="Say max_replicas"):
        await house.deploy(scaling={"min_replicas": 1})


async def test_the_last_decision_is_told(house: House) -> None:
    await house.node(gpus=2)
    made = await house.ready(scaling=FOLLOWS)
    await live(house, made, in_flight=2)
    async with house.ctx.db.begin() as tx:
        row = await store.find(tx, made)
        assert row is not None
        said = scaling.said((await service.whole(tx, row)).deployment)
    assert said == "2.0 in flight + 0 waiting over 4 each: 1 stay"


@pytest.mark.feature("D6")
async def test_long_prompts_that_fill_its_caches_make_it_grow(house: House) -> None:
    """A load shape with two requests in flight all the time, of which the caches have enough."""
    await house.node(gpus=4)
    made = await house.ready(scaling=QUICK)
    grown = []
    for caches in (0.3, 1.6, 1.6, 0.3, 0.3, 0.3):
        for _ in range(5):
            load = Load(made, in_flight=2, caches=caches, queued=1 if caches > 1 else 0)
            await scaling.reported(house.ctx, LoadReport("boot", [load]))
            await house.settle(rounds=1)
        grown.append([one.state for one in await house.replicas(made)].count("ready"))
    assert (grown[0], grown[2], grown[-1]) == (1, 2, 1)
    reason = next(why for what, why in await decisions(house, made) if what == "scaled up")
    assert "KV caches of 1.60 workers (1 queued there) over 0.8 each: 1 to 2" in reason
