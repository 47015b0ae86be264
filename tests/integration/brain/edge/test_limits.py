"""Rates per address, user and key: a burst passes, then the rate, and time heals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial

import httpx
import pytest
from fastapi import FastAPI

from brain.app import create_app
from brain.edge.limits import Limits, Rate, Rates, bucket
from brain.plumbing import Ctx, valkey
from kernel.clock import ManualClock
from kernel.errors import LimitReached
from tests.support.brain import (
    api_key,
    quick_passwords,
    settings_for_tests,
    signed_up,
)

pytestmark = pytest.mark.feature("I6")

WIDE = Rate(1_000_000, 1)


@pytest.fixture(autouse=True)
def _patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Valkey that a busy machine keeps waiting is not one that is away: then all would pass."""
    monkeypatch.setattr(valkey, "connect", partial(valkey.connect, seconds_max=30.0))


@pytest.fixture
def app(database_url: str, valkey_url: str, ctx: Ctx) -> FastAPI:
    settings = settings_for_tests(
        database_url,
        redis_url=valkey_url,
        auth_requests_per_second=5,
        api_requests_per_second=30,
        api_rate_limit=40,
    )
    return create_app(settings, ctx=ctx, passwords=quick_passwords())


@pytest.fixture
async def limits(valkey_url: str, clock: ManualClock) -> AsyncIterator[Limits]:
    client = valkey.connect(valkey_url)
    yield Limits(client, clock, Rates(auth=Rate(5, 1), api=WIDE, key=WIDE))
    await client.aclose()


async def _passed(limits: Limits, tries: int, address: str = "192.0.2.1") -> int:
    asked = [limits.from_address("/auth/login", address) for _ in range(tries)]
    answers = await asyncio.gather(*asked, return_exceptions=True)
    refused = [one for one in answers if one is not None]
    assert all(isinstance(one, LimitReached) for one in refused)
    return tries - len(refused)


async def test_a_burst_passes_then_the_rate(limits: Limits, clock: ManualClock) -> None:
    assert await _passed(limits, 20) == 5
    clock.advance(0.2)
    assert await _passed(limits, 20) == 1
    clock.advance(0.19)
    assert await _passed(limits, 20) == 0
    clock.advance(60)
    assert await _passed(limits, 20) == 5


async def test_refused_tries_cost_nothing(limits: Limits, clock: ManualClock) -> None:
    for _ in range(10):
        await _passed(limits, 20)
    clock.advance(1)
    assert await _passed(limits, 20) == 5


async def test_another_address_has_its_own_rate(limits: Limits) -> None:
    assert await _passed(limits, 9) == 5
    assert await _passed(limits, 9, "192.0.2.2") == 5


async def test_two_processes_share_one_rate(
    limits: Limits, valkey_url: str, clock: ManualClock
) -> None:
    client = valkey.connect(valkey_url)
    other = Limits(client, clock, Rates(auth=Rate(5, 1), api=WIDE, key=WIDE))
    assert sum(await asyncio.gather(_passed(limits, 9), _passed(other, 9))) == 5
    await client.aclose()


async def test_without_valkey_requests_pass_and_it_is_left_alone(clock: ManualClock) -> None:
    client = valkey.connect("redis://127.0.0.1:1/0")
    limits = Limits(client, clock, Rates(auth=Rate(5, 1), api=WIDE, key=WIDE))
    assert await _passed(limits, 50) == 50
    await client.aclose()


async def test_guessing_passwords_is_slowed(brain: httpx.AsyncClient) -> None:
    body = {"email": "ada@example.com", "password": "wrong"}
    answers = [await brain.post("/auth/login", json=body) for _ in range(6)]
    assert [answer.status_code for answer in answers] == [401] * 5 + [429]
    assert answers[-1].headers["retry-after"] == "1"
    assert answers[-1].headers["content-type"] == "application/problem+json"


async def test_a_key_has_its_minute(brain: httpx.AsyncClient, clock: ManualClock) -> None:
    who = await signed_up(brain)
    headers = {"authorization": f"Bearer {await api_key(brain, who, 'read')}"}

    async def ask(times: int) -> list[int]:
        path = "/api/v1/deployments"
        return [(await brain.get(path, headers=headers)).status_code for _ in range(times)]

    assert await ask(20) == [200] * 20
    clock.advance(1)  # the second's quota is whole again; the minute's has 20 left
    assert await ask(22) == [200] * 20 + [429] * 2
    clock.advance(1.4)
    assert await ask(2) == [200, 429]


async def test_health_and_agents_have_no_limit_here(brain: httpx.AsyncClient) -> None:
    answers = {(await brain.get("/health/live")).status_code for _ in range(100)}
    assert answers == {200}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("2001:db8:1:2:3:4:5:6", "2001:0db8:0001:0002"),
        ("2001:db8:1:2::9", "2001:0db8:0001:0002"),
        ("", "local"),
        ("testclient", "local"),
    ],
)
def test_what_counts_as_one_address(address: str, expected: str) -> None:
    assert bucket(address) == expected
