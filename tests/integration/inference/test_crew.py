"""One gateway as several processes: they share a port, and are replaced while requests run."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter

import httpx
import pytest

from tests.support.crew import alive, members, renewed, serving, told
from tests.support.gateway import KEY, Gateway, StartGateway, snapshot
from tests.support.scripted_worker import answer, scripted_worker
from tests.support.wait import free_port, until

PLAIN = json.dumps({"choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}).encode()
ASK = b'{"model":"m"}'
HEADERS = {"authorization": f"Bearer {KEY}"}


async def ask_on(gateway: Gateway, until_set: asyncio.Event, seen: Counter[int]) -> None:
    """One client with a kept connection, and one that comes anew each time, in turn."""
    url = f"{gateway.url}/v1/chat/completions"
    async with httpx.AsyncClient(headers=HEADERS, timeout=20) as kept:
        while not until_set.is_set():
            seen[(await kept.post(url, content=ASK)).status_code] += 1
            async with httpx.AsyncClient(headers=HEADERS, timeout=20) as fresh:
                seen[(await fresh.post(url, content=ASK)).status_code] += 1


async def test_they_share_a_port_and_each_has_one_of_its_own(start_gateway: StartGateway) -> None:
    own = free_port(2)
    async with scripted_worker([answer(PLAIN)]) as worker:
        tables = snapshot(worker.port)
        gateway = start_gateway(tables, gateway_processes=2, gateway_own_port=own)
        await serving(gateway)
        async with httpx.AsyncClient(headers=HEADERS) as client, asyncio.TaskGroup() as tasks:
            for _ in range(64):
                url = f"{gateway.url}/v1/chat/completions"
                tasks.create_task(client.post(url, content=ASK))
    counted = [_requests(own + place) for place in range(2)]
    assert sum(counted) == 64
    assert min(counted) > 0


def _requests(port: int) -> float:
    page = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=5).text
    lines = [one for one in page.splitlines() if one.startswith("ganglion_gateway_requests_total{")]
    return sum(float(line.rsplit(" ", 1)[1]) for line in lines)


@pytest.mark.feature("A11")
async def test_they_are_replaced_and_no_request_fails(start_gateway: StartGateway) -> None:
    seen, over = Counter[int](), asyncio.Event()
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_processes=2)
        await serving(gateway)
        before = members(gateway)
        asking = [asyncio.create_task(ask_on(gateway, over, seen)) for _ in range(6)]
        for _ in range(2):
            await renewed(gateway)
        await until(lambda: not alive(*before), 30)
        over.set()
        await asyncio.gather(*asking)
    assert set(seen) == {200}, seen
    assert gateway.stop() == 0
    assert len(gateway.segments()) == seen[200]


async def test_one_that_is_killed_comes_back_and_the_others_serve_on(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_processes=2)
        await serving(gateway)
        [first, second] = members(gateway)
        os.kill(first, signal.SIGKILL)
        await until(lambda: len({*members(gateway)} - {first}) == 2, 30)
        assert second in members(gateway)
        assert [line["again"] for line in told(gateway, "process_died")] == [1]


async def test_they_end_with_a_killed_parent(start_gateway: StartGateway) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_processes=2)
        await serving(gateway)
        family = members(gateway)
        gateway.kill()
        await until(lambda: not alive(*family), 20)
    assert len(told(gateway, "stopped")) == 2


async def test_a_port_that_is_taken_is_one_sentence(start_gateway: StartGateway) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        with pytest.raises(AssertionError, match=r"The gateway cannot start: .*in use"):
            start_gateway(snapshot(worker.port), gateway_processes=2, gateway_own_port=worker.port)


async def test_links_that_nobody_could_tell_apart_are_refused(start_gateway: StartGateway) -> None:
    with pytest.raises(AssertionError, match=r"write GATEWAY_LINK_URL with \{port\} in it"):
        start_gateway(
            snapshot(1), gateway_processes=2, gateway_link_url="https://links.example.com"
        )
