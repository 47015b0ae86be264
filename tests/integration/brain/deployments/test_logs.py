"""Logs of deployments over HTTP: live and past, in pages, followed, bounded, each account's own."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import replace
from datetime import timedelta
from typing import Any

import httpx
import pytest

from brain import fleet
from brain.deployments import log_routes
from brain.deployments.log_routes import Asked, follow_lines, since_time
from brain.fleet import LogTerms
from brain.identity import Principal
from kernel.clock import NS
from kernel.errors import BadInput, LimitReached
from kernel.ids import AccountId, DeploymentId, ReplicaId
from kernel.wire import encode
from kernel.wire.agent import LogBatch, LogLine
from tests.support.brain import Somebody, signed_up
from tests.support.deployments import House, give
from tests.support.fleet import Agent

pytestmark = pytest.mark.feature("D5")


class Shop:
    """A deployment of somebody's, whose workers' agents write."""

    def __init__(self, house: House, brain: httpx.AsyncClient, who: Somebody) -> None:
        self.house, self.brain, self.who = house, brain, who
        self.made = DeploymentId("dep_")

    async def open(self, replicas: int = 1) -> None:
        self.house.account = AccountId(self.who.account_id)
        await give(self.house.ctx, self.house.account)
        await self.house.node(replicas)
        self.made = await self.house.ready(replicas=replicas)

    async def write(self, first: int, count: int, place: int = 0, at: int = 0) -> int:
        replica = sorted(await self.house.replicas(self.made), key=lambda r: r.epoch)[place]
        now_ns = at or self.house.clock.now_ns()
        lines = [LogLine(now_ns + first + n, "stdout", f"line {first + n}") for n in range(count)]
        body = encode(LogBatch(str(replica.lease_id), first, lines))
        agent: Agent = self.house.rig.agents[0]
        return (await agent.send("/agent/v1/logs", body)).status_code

    async def read(self, **query: Any) -> dict[str, Any]:
        answer = await self.brain.get(self.url, params=query, headers=self.who.headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def texts(self, **query: Any) -> list[str]:
        return [line["text"] for line in (await self.read(**query))["items"]]

    @property
    def url(self) -> str:
        return f"/api/v1/deployments/{self.made}/logs"

    @property
    def principal(self) -> Principal:
        account = AccountId(self.who.account_id)
        return Principal(account, None, None, frozenset(), frozenset({"read"}))


@pytest.fixture
async def shop(house: House, brain: httpx.AsyncClient) -> Shop:
    made = Shop(house, brain, await signed_up(brain))
    await made.open()
    return made


async def test_the_newest_lines_in_the_order_of_time(shop: Shop) -> None:
    assert await shop.write(0, 5) == 204
    assert await shop.texts(tail=2) == ["line 3", "line 4"]
    [line, *_] = (await shop.read())["items"]
    assert (line["number"], line["stream"]) == (0, "stdout")
    assert line["replica_id"] == (await shop.house.replicas(shop.made))[0].replica_id


async def test_page_by_page_each_line_comes_once(shop: Shop) -> None:
    await shop.write(0, 7)
    seen, cursor = [], None
    for _ in range(4):
        page = await shop.read(limit=3, **({"cursor": cursor} if cursor else {}))
        seen += [line["number"] for line in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert (seen, cursor) == (list(range(7)), None)


async def test_since_leaves_out_what_is_older(shop: Shop) -> None:
    now_ns = shop.house.clock.now_ns()
    await shop.write(0, 1, at=now_ns - 700 * NS)
    await shop.write(1, 1, at=now_ns)
    assert await shop.texts(since="10m") == ["line 1"]
    assert await shop.texts(since="1h") == ["line 0", "line 1"]


async def test_past_ones_stay_when_the_replica_has_ended(shop: Shop) -> None:
    await shop.write(0, 3)
    [replica] = await shop.house.replicas(shop.made)
    await shop.house.stop(shop.made)
    await shop.house.settle()
    assert await shop.house.state(shop.made) == "stopped"
    assert len(await shop.texts(replica=replica.replica_id)) == 3


async def test_one_replica_alone(house: House, brain: httpx.AsyncClient) -> None:
    shop = Shop(house, brain, await signed_up(brain))
    await shop.open(replicas=2)
    await shop.write(0, 2, place=0)
    await shop.write(0, 1, place=1)
    other = sorted(await house.replicas(shop.made), key=lambda r: r.epoch)[1]
    assert len(await shop.texts()) == 3
    assert len(await shop.texts(replica=other.replica_id)) == 1


@pytest.mark.parametrize(
    "query",
    [
        {"since": "yesterday"},
        {"since": "2026-01-01T00:00:00"},
        {"tail": 1001},
        {"tail": 5, "limit": 5},
        {"follow": True, "limit": 5},
        {"cursor": "x"},
        {"limit": 0},
    ],
)
async def test_a_bad_ask_is_refused(shop: Shop, query: dict[str, Any]) -> None:
    answer = await shop.brain.get(shop.url, params=query, headers=shop.who.headers)
    assert answer.status_code == 422


async def test_another_accounts_logs_are_not_there(shop: Shop) -> None:
    other = await signed_up(shop.brain)
    assert (await shop.brain.get(shop.url, headers=other.headers)).status_code == 404
    assert (await shop.brain.get(shop.url)).status_code == 401
    unknown = {"replica": ReplicaId("rep_" + "0" * 32)}
    answer = await shop.brain.get(shop.url, params=unknown, headers=shop.who.headers)
    assert answer.status_code == 404


async def test_a_lease_keeps_so_much_and_no_more(shop: Shop) -> None:
    terms = LogTerms(lines_max=100, bytes_max=1 << 20)
    front = shop.house.rig.front
    front.terms = replace(front.terms, log_terms=terms)
    for first in range(0, 250, 50):
        await shop.write(first, 50)
    numbers = [line["number"] for line in (await shop.read(tail=1000))["items"]]
    assert 75 <= len(numbers) <= 100
    assert numbers == list(range(250 - len(numbers), 250))
    front.terms = replace(front.terms, log_terms=LogTerms(lines_max=10_000, bytes_max=2000))
    await shop.write(250, 100)
    kept = (await shop.read(tail=1000))["items"]
    assert sum(len(line["text"]) + 32 for line in kept) <= 2000
    assert kept[-1]["number"] == 349


async def test_what_wrote_nothing_for_long_is_forgotten(shop: Shop) -> None:
    await shop.write(0, 3)
    now = shop.house.clock.now()
    async with shop.house.ctx.db.begin() as tx:
        assert await fleet.forget_logs(tx, now - timedelta(days=1)) == 0
        assert await fleet.forget_logs(tx, now + timedelta(seconds=1)) == 1
    assert await shop.texts() == []


async def followed(shop: Shop, tail: int = 100) -> AsyncGenerator[dict[str, Any], None]:
    asked = Asked(str(shop.made), shop.principal, None, 0, tail)
    async with aclosing(follow_lines(shop.house.ctx, asked)) as lines:
        async for line in lines:
            yield json.loads(line)


async def test_a_follower_gets_each_line_once_and_beats_between(shop: Shop) -> None:
    await shop.write(0, 3)
    stream = followed(shop, tail=2)
    seen: list[int] = [(await anext(stream))["number"]]  # it looked before more is written

    async def read() -> None:
        async for line in stream:
            if "number" in line:
                seen.append(line["number"])
            if seen and seen[-1] == 8:
                return

    reading = asyncio.create_task(read())
    for first in (3, 6):
        await shop.write(first, 3)
        await shop.house.rig.pass_time(1, *shop.house.rig.agents)
    async with asyncio.timeout(60):
        while not reading.done():
            await shop.house.rig.pass_time(0.5, *shop.house.rig.agents)
    await stream.aclose()
    assert seen == list(range(1, 9))


async def test_a_follower_leaves_its_place(shop: Shop) -> None:
    account = shop.principal.account_id
    streams = [followed(shop) for _ in range(log_routes.FOLLOWERS_MAX)]
    for stream in streams:
        assert await anext(stream) == {"beat": True}
    with pytest.raises(LimitReached):
        log_routes.check_room(account)
    await streams[0].aclose()
    log_routes.check_room(account)
    for stream in streams[1:]:
        await stream.aclose()


async def test_following_what_is_not_there_ends(shop: Shop) -> None:
    other = replace(shop.principal, account_id=AccountId("acct_" + "0" * 32))
    asked = Asked(str(shop.made), other, None, 0, 5)
    assert [line async for line in follow_lines(shop.house.ctx, asked)] == []


def test_since_is_an_age_or_a_time() -> None:
    now_ns = 1_800_000_000 * NS
    assert since_time(None, now_ns) == 0
    assert since_time("10m", now_ns) == now_ns - 600 * NS
    assert since_time("2027-01-15T08:00:00Z", now_ns) == now_ns
    for wrong in ("10", "m", "-5m", "2027-01-15T08:00:00", "x" * 30):
        with pytest.raises(BadInput):
            since_time(wrong, now_ns)
