"""Limits are dealt from one Valkey: never more than there is, whoever asks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from redis.asyncio import Redis

from brain.app import create_app
from brain.limits import Dealer
from brain.plumbing import Ctx, valkey
from kernel.clock import ManualClock
from kernel.wire import encode
from kernel.wire.limits import LimitAsk, LimitGrant, LimitKind, LimitsRequest
from tests.support.brain import GATEWAY_TOKEN, quick_passwords, running, settings_for_tests
from tests.unit.inference.limits.desk import Desk, Process, key

pytestmark = pytest.mark.feature("A14")
LIMIT = 100
UNIT_MS = 60_000 // LIMIT
WAIT_SECONDS = 30  # for a Valkey of a busy machine


@pytest.fixture
async def client(valkey_url: str) -> AsyncIterator[Redis]:
    made = valkey.connect(valkey_url, seconds_max=WAIT_SECONDS)
    yield made
    await made.aclose()


@pytest.fixture
def dealer(client: Redis, clock: ManualClock) -> Dealer:
    return Dealer(client, clock)


async def _now_ms(client: Redis) -> float:
    """By the only clock that counts."""
    seconds, microseconds = await client.time()
    return float(seconds * 1000 + microseconds / 1000)


async def _passed_ms(client: Redis, begun_ms: float) -> float:
    """Since then, rounded up."""
    return await _now_ms(client) - begun_ms + 1


async def _ask(dealer: Dealer, boot: str = "one", **fields: object) -> LimitGrant:
    ask = LimitAsk("key:k", fields.pop("limit", LIMIT), **fields)  # type: ignore[arg-type]
    return (await dealer.deal(LimitsRequest(boot, [ask]))).grants[0]


async def test_what_many_ask_for_at_once_is_dealt_once(dealer: Dealer, client: Redis) -> None:
    begun = await _now_ms(client)
    asked = [_ask(dealer, f"boot{n}", want=30) for n in range(5)]
    granted = [grant.granted for grant in await asyncio.gather(*asked)]
    assert LIMIT <= sum(granted) <= LIMIT + await _passed_ms(client, begun) / UNIT_MS


async def test_what_is_owed_counts_and_must_be_waited_for(dealer: Dealer, client: Redis) -> None:
    begun = await _now_ms(client)
    await _ask(dealer, want=LIMIT)
    grant = await _ask(dealer, "two", want=10, owed=50)
    whole = 51 * UNIT_MS  # the fifty, and one to come
    assert (grant.granted, grant.left) == (0, 0)
    assert whole - await _passed_ms(client, begun) <= grant.wait_ms <= whole


async def test_what_is_given_back_can_be_had_by_others(dealer: Dealer, client: Redis) -> None:
    begun = await _now_ms(client)
    await _ask(dealer, want=LIMIT)
    await _ask(dealer, back=40)
    granted = (await _ask(dealer, "two", want=LIMIT)).granted
    assert 40 <= granted <= 40 + await _passed_ms(client, begun) / UNIT_MS


async def test_more_given_back_than_dealt_makes_no_more_than_the_limit(dealer: Dealer) -> None:
    await _ask(dealer, back=10 * LIMIT)
    assert (await _ask(dealer, want=10 * LIMIT)).granted == LIMIT


async def test_slots_are_held_by_process_and_confirmed(dealer: Dealer) -> None:
    def slots(boot: str, want: int, owed: int = 0) -> asyncio.Task[LimitGrant]:
        ask = _ask(dealer, boot, limit=5, want=want, owed=owed, kind=LimitKind.SLOTS)
        return asyncio.ensure_future(ask)

    assert (await slots("one", 4)).granted == 4
    assert (await slots("two", 4)).granted == 1
    assert (await slots("one", 4)).granted == 4
    assert (await slots("one", 0)).granted == 0
    assert (await slots("two", 4)).granted == 4
    assert (await slots("three", 1, owed=3)).granted == 3  # what runs, runs


async def test_three_processes_never_run_more_at_once_than_the_limit(dealer: Dealer) -> None:
    chance, desk = random.Random(7), Desk(3)
    processes = [Process(desk, boot, key(requests_at_once=4)) for boot in range(3)]
    most = 0
    for _ in range(600):
        one = chance.choice(processes)
        one.do(chance.choice(["send", "send", "end", "rest"]), ask=False)
        if chance.random() < 0.5:
            one.limits.beat(desk.now_ns)
        questions = one.limits.questions(desk.now_ns)
        asked = LimitsRequest(f"boot{one.boot}", [ask for _, ask in questions])
        one.limits.answered(questions, await dealer.deal(asked), desk.now_ns)
        desk.now_ns += 20_000_000
        most = max(most, sum(len(process.running) for process in processes))
    assert most == 4


async def test_every_process_that_asks_is_counted(dealer: Dealer) -> None:
    answers = [await dealer.deal(LimitsRequest(boot, [])) for boot in ("a", "b", "c", "a")]
    assert [one.processes for one in answers] == [1, 2, 3, 3]


async def test_a_large_limit_is_exact(dealer: Dealer, client: Redis) -> None:
    limit, begun = 10**7, await _now_ms(client)
    assert (await _ask(dealer, limit=limit, want=limit)).granted == limit
    granted = (await _ask(dealer, limit=limit, want=limit)).granted
    assert granted <= limit * await _passed_ms(client, begun) / 60_000


async def test_without_valkey_gateways_are_told_to_limit_alone(clock: ManualClock) -> None:
    client = valkey.connect("redis://127.0.0.1:1/0")
    dealer = Dealer(client, clock)
    asked = [LimitAsk("key:k", LIMIT, want=1)]
    for number in range(3):
        told = await dealer.deal(LimitsRequest(f"boot{number}", asked))
    assert (told.away, told.processes, told.grants) == (True, 3, [])
    clock.advance(20)
    assert (await dealer.deal(LimitsRequest("boot0", []))).processes == 1
    await client.aclose()


async def test_only_gateways_may_ask_and_only_what_can_be_read(
    database_url: str, valkey_url: str, ctx: Ctx
) -> None:
    settings = settings_for_tests(database_url, redis_url=valkey_url)
    app: FastAPI = create_app(settings, ctx=ctx, passwords=quick_passwords())
    async with running(app) as client:
        assert (await _post(client, b"{}", "wrong")).status_code == 401
        assert (await _post(client, b"{", GATEWAY_TOKEN)).status_code == 400
        assert (await _post(client, b"{}", GATEWAY_TOKEN)).status_code == 422
        asked = encode(LimitsRequest("boot", [LimitAsk("key:k", 10, want=3)]))
        answer = await _post(client, asked, GATEWAY_TOKEN)
    assert answer.json()["grants"] == [{"granted": 3, "left": 7, "wait_ms": 0}]


async def _post(client: httpx.AsyncClient, body: bytes, token: str) -> httpx.Response:
    headers = {"authorization": f"Bearer {token}"}
    return await client.post("/internal/gateway/limits", content=body, headers=headers)
