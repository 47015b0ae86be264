"""What an owner asks of places, and the most that a deployment may cost."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import text

from brain import billing
from brain.bridges import ModelsNear
from brain.deployments.wishes import Wishes, wishes_of
from brain.offers import Market
from brain.plumbing import Ctx
from brain.scheduling import Prefer
from kernel.ids import AccountId
from kernel.money import NANO, Money
from tests.support.brain import signed_up
from tests.support.deployments import House, give
from tests.support.fleet import Agent


async def settle_down(house: House, agent: Agent, **values: object) -> None:
    async with house.ctx.db.begin() as tx:
        for name, value in values.items():
            statement = text(f"UPDATE node SET {name} = :value WHERE node_id = :node")
            await tx.execute(statement, {"value": value, "node": agent.node_id})


@pytest.mark.feature("F2")
async def test_only_the_regions_that_were_asked_for_are_used(house: House) -> None:
    east, west = await house.node(), await house.node()
    await settle_down(house, east, region="east", price_nano=NANO)
    await settle_down(house, west, region="west", price_nano=2 * NANO)
    made = await house.deploy(wishes=Wishes(regions=("west",)))
    await house.tick()
    [replica] = await house.replicas(made)
    assert replica.node_id == west.node_id


@pytest.mark.feature("F2")
async def test_spread_puts_the_second_replica_elsewhere(house: House) -> None:
    full, empty = await house.node(gpus=4), await house.node(gpus=4)
    await settle_down(house, empty, price_nano=NANO * 105 // 100)
    await settle_down(house, full, price_nano=NANO)
    made = await house.deploy(wishes=Wishes(prefer=Prefer.SPREAD))
    await house.tick()
    await house.scale(made, 2)
    await house.tick()
    assert {r.node_id for r in await house.replicas(made)} == {full.node_id, empty.node_id}


@pytest.mark.feature("F2")
async def test_no_stranger_s_machine_where_a_secure_one_is_asked_for(house: House) -> None:
    await house.node()
    made = await house.deploy(wishes=Wishes(secure=True))
    await house.tick()
    [replica] = await house.replicas(made)
    assert "at least verified is asked for" in replica.waiting_reason


@pytest.mark.feature("F2")
async def test_a_budget_ends_the_deployment_before_it_is_overspent(house: House) -> None:
    node = await house.node()
    await settle_down(house, node, price_nano=36 * NANO)  # a cent a second
    made = await house.ready(budget=Money.usd("1"))
    for _ in range(30):
        await house.settle(rounds=1, seconds=4)
        if await house.state(made) != "running":
            break
    found = await house.look(made)
    assert found.deployment.asked_reason == "its budget of $1.00 is spent"
    async with house.ctx.db.begin() as tx:
        spent = await billing.spending(tx, made)
    assert NANO // 2 < spent.nano <= NANO


@pytest.mark.feature("F2")
async def test_a_known_duration_must_fit_the_budget(house: House) -> None:
    node = await house.node()
    await settle_down(house, node, price_nano=36 * NANO)
    made = await house.deploy(budget=Money.usd("1"), max_duration_seconds=3600)
    await house.tick()
    [replica] = await house.replicas(made)
    assert "the budget is $1.00" in replica.waiting_reason


async def test_wishes_come_and_go_over_http(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    who = await signed_up(brain)
    await give(ctx, AccountId(who.account_id))
    asked = {
        "regions": ["eu", "us"],
        "spot": True,
        "secure": True,
        "prefer": "spread",
        "budget_usd": "12.50",
        "min_reliability_percent": 99.5,
    }
    body = {"model": "ganglion/stand-in", **asked}
    made = await brain.post("/api/v1/deployments", json=body, headers=who.headers)
    assert made.status_code == 201, made.text
    assert {name: made.json()[name] for name in asked} == asked
    for wrong in ({"prefer": "far"}, {"budget_usd": "-1"}, {"regions": ["\x00"]}):
        answer = await brain.post(
            "/api/v1/deployments", json={**body, **wrong}, headers=who.headers
        )
        assert answer.status_code == 422, wrong


def test_what_is_kept_is_read_back() -> None:
    wishes = Wishes(("eu",), spot=True, secure=True, reliability_ppm_min=5, prefer=Prefer.PACK)
    assert wishes_of(wishes.kept()) == wishes
    assert wishes_of({}) == Wishes()


@pytest.mark.feature("F2")
async def test_a_node_that_served_the_model_is_known_for_a_while(house: House) -> None:
    node = await house.node()
    made = await house.ready()
    board = await Market(house.ctx, ModelsNear()).board()
    assert [(o.node_id, o.models) for o in board.offers] == [
        (node.node_id, frozenset({"ganglion/stand-in"}))
    ]
    assert await house.state(made) == "running"
