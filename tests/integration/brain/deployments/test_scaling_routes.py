"""Scaling by load over HTTP: bounds of an owner, and the door of gateways."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from brain.plumbing import Ctx
from kernel.ids import AccountId
from kernel.wire import encode
from kernel.wire.gateway import Load, LoadReport
from tests.integration.brain.billing.test_routes import GATEWAY
from tests.support.brain import Somebody, signed_up
from tests.support.deployments import give

URL = "/api/v1/deployments"
BOUNDS = {"min_replicas": 0, "max_replicas": 4, "target_in_flight": 8}
DOOR = "/internal/gateway/load"


@pytest.fixture
async def who(brain: httpx.AsyncClient, ctx: Ctx) -> Somebody:
    made = await signed_up(brain)
    await give(ctx, AccountId(made.account_id))
    return made


async def deploy(brain: httpx.AsyncClient, who: Somebody, **more: Any) -> dict[str, Any]:
    body = {"model": "ganglion/stand-in", **more}
    answer = await brain.post(URL, json=body, headers=who.headers)
    assert answer.status_code == 201, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.feature("D6")
async def test_bounds_are_set_shown_and_ended_by_a_number(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    made = await deploy(brain, who, **BOUNDS)
    assert {name: made[name] for name in BOUNDS} == BOUNDS
    assert made["scale_to_zero_after_seconds"] == 300
    path = f"{URL}/{made['deployment_id']}/scale"
    fixed = (await brain.post(path, json={"replicas": 2}, headers=who.headers)).json()
    assert (fixed["replicas"], fixed["max_replicas"]) == (2, None)
    again = (await brain.post(path, json={"max_replicas": 3}, headers=who.headers)).json()
    assert (again["min_replicas"], again["max_replicas"], again["replicas"]) == (1, 3, 2)


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"replicas": 1, "max_replicas": 2},
        {"min_replicas": 1},
        {"min_replicas": 3, "max_replicas": 2},
        {"max_replicas": 65},
        {"max_replicas": 2, "target_in_flight": 0},
    ],
)
async def test_bounds_that_say_nothing_sensible_are_refused(
    brain: httpx.AsyncClient, who: Somebody, body: dict[str, int]
) -> None:
    made = await deploy(brain, who)
    path = f"{URL}/{made['deployment_id']}/scale"
    assert (await brain.post(path, json=body, headers=who.headers)).status_code == 422


@pytest.mark.feature("D6")
async def test_what_a_gateway_tells_is_taken(brain: httpx.AsyncClient, who: Somebody) -> None:
    made = await deploy(brain, who, **BOUNDS)
    report = LoadReport("boot", [Load(made["deployment_id"], in_flight=0.5, waiting=2)])
    for _ in range(2):
        answer = await brain.post(DOOR, content=encode(report), headers=GATEWAY)
        assert (answer.status_code, answer.json()) == (200, {"taken": 1})


async def test_only_gateways_tell_loads(brain: httpx.AsyncClient, who: Somebody) -> None:
    body = encode(LoadReport("boot", []))
    assert (await brain.post(DOOR, content=body)).status_code == 401
    assert (await brain.post(DOOR, content=body, headers=who.headers)).status_code == 401
    assert (await brain.post(DOOR, content=b"{}", headers=GATEWAY)).status_code == 422
