"""One limit over three gateway processes and a real brain; what official clients see of it."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import httpx
import pytest
from openai import RateLimitError

from kernel.wire.gateway import AccountRow, Snapshot
from tests.support.gateway import (
    KEY,
    OWNER,
    Gateway,
    StartGateway,
    deployment_row,
    key_row,
    replica_row,
)
from tests.support.limit_house import ADMITTED, limit_house
from tests.support.scripted_worker import answer, scripted_worker
from tests.support.wait import until

pytestmark = pytest.mark.feature("A14", "A9")

PLAIN = b'{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}'
HELLO = [{"role": "user", "content": "hello"}]
PATIENCE = 20  # in which no limit here is refilled by more than a third of itself


def limited(port: int, **limits: int) -> Snapshot:
    return Snapshot(
        keys=[key_row(KEY, **limits)],  # type: ignore[arg-type]
        accounts=[AccountRow(OWNER)],
        deployments=[deployment_row()],
        replicas=[replica_row(port)],
    )


async def post(gateway: Gateway, body: object, key: str = KEY) -> httpx.Response:
    return await asyncio.to_thread(gateway.post, body, key=key)


async def test_three_processes_share_one_limit(
    database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    limit, allowance = 60, 3
    async with limit_house(database_url, valkey_url, tmp_path, requests_per_minute=limit) as house:
        began = time.monotonic()
        told = await house.send_to_all(60)
        while told[ADMITTED] < limit:  # a busy brain deals late: who was refused comes again
            assert time.monotonic() - began < PATIENCE, told
            told += await house.send_to_all(5)
        refilled = limit * (time.monotonic() - began) / 60
        assert set(told) == {ADMITTED, 429}
        assert told[ADMITTED] <= limit + refilled + 3 * allowance
        told = await house.send(20, gateway=1)
        refilled = limit * (time.monotonic() - began) / 60
        assert told[429] >= 20 - 3 * allowance - refilled


async def test_one_process_may_have_all_of_it(
    database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    async with limit_house(
        database_url, valkey_url, tmp_path, gateways=1, requests_per_minute=50
    ) as house:
        began, admitted = time.monotonic(), 0
        while admitted < 50:  # a third of it, and what is refilled meanwhile, would not do
            assert time.monotonic() - began < PATIENCE, admitted
            admitted += (await house.send(50 - admitted))[ADMITTED]


async def test_without_the_brain_they_serve_on_and_stay_bounded(
    database_url: str, valkey_url: str, tmp_path: Path
) -> None:
    limit = 600
    async with limit_house(database_url, valkey_url, tmp_path, requests_per_minute=limit) as house:
        await house.send_to_all(10)  # the processes are counted
        await until(lambda: house.gateways[2].metric("ganglion_gateway_limits") >= 1)
        house.freeze_brain()
        began, admitted = time.monotonic(), 0
        while time.monotonic() - began < 4:
            admitted += (await house.send_to_all(20))[ADMITTED]
        house.thaw_brain()
        seconds = time.monotonic() - began
        assert 3 * 20 <= admitted <= limit + limit * seconds / 60 + 3 * (limit // 20)


async def test_the_official_client_raises_with_the_headers(start_gateway: StartGateway) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(limited(worker.port, requests_per_minute=2))
        client = gateway.async_client()
        said = await client.chat.completions.with_raw_response.create(model="m", messages=HELLO)  # type: ignore[arg-type]
        assert said.headers["x-ratelimit-limit-requests"] == "2"
        assert said.headers["x-ratelimit-remaining-requests"] == "1"
        assert said.headers["x-ratelimit-reset-requests"] == "30s"
        await client.chat.completions.create(model="m", messages=HELLO)  # type: ignore[arg-type]
        with pytest.raises(RateLimitError) as caught:
            await client.chat.completions.create(model="m", messages=HELLO)  # type: ignore[arg-type]
    headers = caught.value.response.headers
    assert caught.value.code == "rate_limit_exceeded"
    assert (headers["x-ratelimit-remaining-requests"], headers["retry-after"]) == ("0", "30")
    assert 29_000 < int(headers["retry-after-ms"]) <= 30_000
    assert headers["x-should-retry"] == "true"


async def test_a_client_that_retries_gets_through(start_gateway: StartGateway) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(limited(worker.port, requests_per_minute=60))
        first = gateway.async_client()

        async def refused() -> bool:
            try:
                await first.chat.completions.create(model="m", messages=HELLO)  # type: ignore[arg-type]
            except RateLimitError:
                return True
            return False

        await until(refused, 60, every=0)
        patient = gateway.async_client(max_retries=2)
        await patient.chat.completions.create(model="m", messages=HELLO)  # type: ignore[arg-type]
    assert gateway.metric("ganglion_gateway_rate_limited") >= 1


async def test_tokens_are_counted_by_what_the_answer_says(start_gateway: StartGateway) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(limited(worker.port, tokens_per_minute=100))
        seen = []
        for _ in range(2):  # each sets aside 33 and takes 6
            told = await post(gateway, {"model": "m", "messages": HELLO, "max_tokens": 12})
            seen.append(int(told.headers["x-ratelimit-remaining-tokens"]))
        assert seen[0] == 67
        assert 61 <= seen[1] <= 67
        told = await post(gateway, {"model": "m", "max_tokens": 10_000})
    assert told.status_code == 429
    assert "tokens a minute" in told.json()["error"]["message"]


def test_a_request_that_was_not_served_gives_its_tokens_back(start_gateway: StartGateway) -> None:
    gateway = start_gateway(limited(1, tokens_per_minute=100, requests_at_once=1))
    for model in ("none", "none", "m"):  # not found, not found, no worker answers
        told = gateway.post({"model": model, "max_tokens": 80})
        assert told.status_code in (404, 502, 503), told.text


async def test_requests_at_once(start_gateway: StartGateway) -> None:
    on = asyncio.Event()
    async with scripted_worker([on, answer(PLAIN)]) as worker:
        gateway = start_gateway(limited(worker.port, requests_at_once=2))
        sent = [asyncio.create_task(post(gateway, {"model": "m"})) for _ in range(5)]
        await until(lambda: sum(one.done() for one in sent) == 3)
        on.set()
        told = [one.status_code for one in await asyncio.gather(*sent)]
        assert (told.count(200), told.count(429)) == (2, 3)
        assert (await post(gateway, {"model": "m"})).status_code == 200


async def test_anthropic_s_shape(start_gateway: StartGateway) -> None:
    gateway = start_gateway(limited(1, requests_per_minute=1))
    gateway.post({"model": "m"}, "/v1/messages")
    told = gateway.post({"model": "m"}, "/v1/messages")
    assert (told.status_code, told.json()["error"]["type"]) == (429, "rate_limit_error")


async def test_refused_keys_are_limited_by_address_and_good_ones_go_on(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(limited(worker.port), gateway_address_failures_per_minute=3)
        told = [(await post(gateway, {}, key="gk_wrong")).status_code for _ in range(5)]
        assert told == [401, 401, 401, 429, 429]
        assert (await post(gateway, {"model": "m"})).status_code == 200


async def test_requests_are_limited_by_address(start_gateway: StartGateway) -> None:
    gateway = start_gateway(limited(1), gateway_address_requests_per_minute=2)
    told = [gateway.post({"model": "none"}).status_code for _ in range(3)]
    assert told == [404, 404, 429]
