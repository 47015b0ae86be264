"""Requests that come while all workers of a deployment are busy, at a real gateway."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import openai
import pytest

from kernel.wire.gateway import AccountRow, SegmentEnd, Snapshot
from tests.integration.inference.test_waiting import (
    ALOUD,
    HELLO,
    POOLED,
    Crowd,
    port_of,
    waits,
)
from tests.support.gateway import (
    KEY,
    OTHER,
    OTHER_KEY,
    Gateway,
    StartGateway,
    key_row,
    snapshot,
)
from tests.support.scripted_worker import WAIT, Script, answer, scripted_worker
from tests.support.standin import MODEL, StandIn
from tests.support.wait import until

PLAIN = b'{"choices":[{"message":{"content":"hi"},"finish_reason":"stop"}]}'
SLOW: Script = [0.15, answer(PLAIN)]
BODY: dict[str, Any] = {"model": "m", "messages": HELLO}


def busy(*ports: int, **fields: Any) -> Snapshot:
    """Workers that are made for one request each: two of a gateway, and no more."""
    tables = snapshot(*ports, **{"concurrency": 1, **fields})
    tables.keys.append(key_row(OTHER_KEY, OTHER))
    tables.accounts.append(AccountRow(OTHER))
    return tables


async def heard(gateway: Gateway, key: str = KEY) -> bytes:
    """The answer as it came, over a connection of its own."""
    reader, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
    body = json.dumps(BODY)
    writer.write(
        f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
        f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n{body}".encode()
    )
    answered = await reader.read()
    writer.close()
    return answered


async def post(gateway: Gateway, key: str = KEY) -> int:
    return int((await heard(gateway, key))[9:12])


def refuses(times: int, status: int = 429) -> Any:
    refusal = answer(b'{"error":{"message":"full"}}', status=status)
    refusal = refusal.replace(b"\r\n", b"\r\nretry-after: 0\r\n", 1)
    return lambda number: [refusal] if number < times else [answer(PLAIN)]


@pytest.mark.feature("D6")
async def test_a_worker_has_no_more_than_it_takes_and_nobody_fails(
    start_gateway: StartGateway,
) -> None:
    seen: list[int] = []
    on = asyncio.Event()

    def script(number: int) -> Script:
        seen.append(len(worker._open))
        return [on, answer(PLAIN)]

    async with scripted_worker(script) as worker:
        gateway = start_gateway(busy(worker.port))
        asked = [asyncio.create_task(post(gateway)) for _ in range(8)]
        await until(lambda: gateway.metric("ganglion_gateway_waited_total") == 6)
        on.set()
        assert await asyncio.gather(*asked) == [200] * 8
        assert max(seen) <= 2
        assert gateway.metric("ganglion_gateway_waited_total") == 6


@pytest.mark.feature("D6")
async def test_accounts_take_turns_at_workers_that_are_busy(start_gateway: StartGateway) -> None:
    """An account with 300 requests at once does not keep another's 10 behind them."""
    on = asyncio.Event()
    async with scripted_worker([on, answer(PLAIN)]) as worker:
        gateway = start_gateway(busy(worker.port, **POOLED))
        flood = [asyncio.create_task(post(gateway)) for _ in range(300)]
        await until(lambda: gateway.metric("ganglion_gateway_waiting ") == 298)
        others = [asyncio.create_task(post(gateway, OTHER_KEY)) for _ in range(10)]
        await until(lambda: gateway.metric("ganglion_gateway_waiting ") == 308)
        on.set()
        assert await asyncio.gather(*flood, *others) == [200] * 310
    accounts = [segment.account_id for segment in gateway.segments()]
    first, last = accounts.index(OTHER), len(accounts) - accounts[::-1].index(OTHER)
    assert last - first < 60


@pytest.mark.feature("D6")
async def test_a_wait_that_is_over_is_a_503_that_says_when_to_come_again(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker([WAIT]) as worker:
        gateway = start_gateway(busy(worker.port), gateway_queue_seconds_max=0.3)
        held = [asyncio.create_task(post(gateway)) for _ in range(2)]
        await until(lambda: len(worker.requests) == 2)
        refused = await heard(gateway)
        gateway.kill()
        await asyncio.gather(*held, return_exceptions=True)
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nretry-after: 10\r\n" in refused
    assert b"wait_over" in refused
    assert b"had room within 0 s" in refused


@pytest.mark.feature("D6")
async def test_the_line_is_bounded(start_gateway: StartGateway) -> None:
    on = asyncio.Event()
    async with scripted_worker([on, answer(PLAIN)]) as worker:
        gateway = start_gateway(busy(worker.port), gateway_wait_requests_max=3)
        asked = [asyncio.create_task(post(gateway)) for _ in range(9)]
        await until(lambda: sum(one.done() for one in asked) == 4)
        on.set()
        told = await asyncio.gather(*asked)
        assert (told.count(200), told.count(503)) == (5, 4)


@pytest.mark.feature("D6")
async def test_with_no_time_to_wait_a_busy_worker_is_given_more(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker(SLOW) as worker:
        gateway = start_gateway(busy(worker.port, concurrency=0))
        assert await asyncio.gather(*(post(gateway) for _ in range(5))) == [200] * 5
        assert gateway.metric("ganglion_gateway_waited_total") == 0


@pytest.mark.feature("D6")
@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("times", [1, 3])
async def test_a_worker_without_room_is_asked_again_and_is_not_kept_away(
    start_gateway: StartGateway, status: int, times: int
) -> None:
    async with scripted_worker(refuses(times, status)) as worker:
        gateway = start_gateway(busy(worker.port))
        assert await post(gateway) == 200
        assert gateway.metric('ganglion_gateway_breakers{state="open"}') == 0
        ends = [(one.attempt, one.end) for one in gateway.segments()]
        failed = [(number, SegmentEnd.FAILED) for number in range(times)]
        assert ends == [*failed, (times, SegmentEnd.DONE)]


@pytest.mark.feature("D6")
async def test_where_all_three_have_no_room_it_waits_for_the_first_that_has(
    start_gateway: StartGateway,
) -> None:
    async with (
        scripted_worker(refuses(1)) as a,
        scripted_worker(refuses(1)) as b,
        scripted_worker(refuses(1)) as c,
    ):
        gateway = start_gateway(busy(a.port, b.port, c.port))
        assert await post(gateway) == 200
        assert sum(len(worker.requests) for worker in (a, b, c)) == 4


@pytest.mark.feature("D6")
async def test_a_worker_that_never_has_room_is_asked_for_so_long_and_no_longer(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker(refuses(1000)) as worker:
        gateway = start_gateway(busy(worker.port), gateway_queue_seconds_max=2)
        began = time.monotonic()
        refused = await heard(gateway)
        assert refused[9:12] in (b"429", b"503")
        assert b"\r\nretry-after: " in refused
        assert time.monotonic() - began > 1.7
        assert 2 <= len(worker.requests) <= 10


@pytest.mark.feature("D6")
async def test_a_worker_that_fails_is_not_waited_for(start_gateway: StartGateway) -> None:
    async with scripted_worker([answer(b"{}", status=500)]) as worker:
        gateway = start_gateway(busy(worker.port))
        assert [await post(gateway) for _ in range(3)] == [502, 502, 503]
        assert gateway.metric("ganglion_gateway_waited_total") == 0


@pytest.mark.feature("D6")
async def test_a_second_replica_takes_those_in_line(start_gateway: StartGateway) -> None:
    async with scripted_worker([WAIT]) as first, scripted_worker([answer(PLAIN)]) as second:
        gateway = start_gateway(busy(first.port))
        held = [asyncio.create_task(post(gateway)) for _ in range(2)]
        await until(lambda: len(first.requests) == 2)
        third = asyncio.create_task(post(gateway))
        await asyncio.to_thread(waits, gateway, 1)
        gateway.change(busy(first.port, second.port))
        assert await third == 200
        gateway.kill()
        await asyncio.gather(*held, return_exceptions=True)


@pytest.mark.feature("D6")
def test_when_the_line_is_over_the_next_one_does_not_wait(
    start_gateway: StartGateway, quick_stand_in: StandIn
) -> None:
    gateway = start_gateway(busy(port_of(quick_stand_in), upstream_model=MODEL))
    assert Crowd(gateway, KEY, 20).join() == [200] * 20
    asyncio.run(until(lambda: gateway.metric("ganglion_gateway_waiting ") == 0))
    waited = gateway.metric("ganglion_gateway_waited_total")
    assert gateway.post(BODY).status_code == 200
    assert gateway.metric("ganglion_gateway_waited_total") == waited > 0


@pytest.mark.feature("D6")
async def test_who_wants_comments_has_them_while_workers_are_busy(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker([WAIT]) as worker:
        gateway = start_gateway(busy(worker.port), gateway_queue_seconds_max=0.5)
        held = [asyncio.create_task(post(gateway)) for _ in range(2)]
        await until(lambda: len(worker.requests) == 2)
        client = gateway.async_client()
        chunks = await client.chat.completions.create(**BODY, stream=True, extra_headers=ALOUD)
        with pytest.raises(openai.APIError, match="had room"):
            async for _ in chunks:
                pass
        gateway.kill()
        await asyncio.gather(*held, return_exceptions=True)
