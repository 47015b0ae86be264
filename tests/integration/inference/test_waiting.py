"""Requests that wait at a real gateway for a worker that is on its way."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import openai
import pytest

from kernel.wire.gateway import AccountRow, ChangeLine, Snapshot
from tests.support.brain_double import brain_double
from tests.support.gateway import (
    KEY,
    OTHER,
    OTHER_KEY,
    OWNER,
    PLATFORM,
    Gateway,
    StartGateway,
    key_row,
    replica_row,
    snapshot,
)
from tests.support.standin import MODEL, StandIn
from tests.support.wait import until

HELLO: list[Any] = [{"role": "user", "content": "Say hello to the gateway, please."}]
POOLED: dict[str, Any] = {
    "pool": True,
    "account_id": PLATFORM,
    "rate_nano": 10**9,
    "model": "m",
    "concurrency": 1,
}
ALOUD = {"x-ganglion-keep-alive": "sse"}


def asleep(*ports: int, **fields: object) -> Snapshot:
    """A deployment whose workers, where there are any, are at these ports; it wakes by itself."""
    tables = snapshot(*ports, upstream_model=MODEL, waits=True, **fields)
    tables.keys.append(key_row(OTHER_KEY, OTHER))
    tables.accounts.append(AccountRow(OTHER))
    return tables


def port_of(worker: StandIn) -> int:
    return int(worker.url.rsplit(":", 1)[1])


def ask(gateway: Gateway, pool: ThreadPoolExecutor, **options: Any) -> Future[Any]:
    client = gateway.client(options.pop("key", KEY))
    return pool.submit(client.chat.completions.create, model="m", messages=HELLO, **options)


def waits(gateway: Gateway, count: int) -> None:
    asyncio.run(until(lambda: gateway.metric("ganglion_gateway_waiting ") == count, 40))


@pytest.mark.feature("D6")
def test_a_request_waits_and_is_answered_after_the_wake(
    start_gateway: StartGateway, quick_stand_in: StandIn
) -> None:
    gateway = start_gateway(asleep())
    with ThreadPoolExecutor() as pool:
        answer = ask(gateway, pool)
        waits(gateway, 1)
        assert gateway.segments() == []
        gateway.change(asleep(port_of(quick_stand_in)))
        assert answer.result(10).choices[0].message.content
    assert len(gateway.segments()) == 1
    waited = gateway.metric("ganglion_gateway_wait_seconds_sum")
    assert 0 < waited < gateway.metric("ganglion_gateway_request_seconds_sum")


@pytest.mark.feature("D6")
def test_nothing_is_sent_before_the_answer_begins(
    start_gateway: StartGateway, quick_stand_in: StandIn
) -> None:
    gateway = start_gateway(asleep())
    with ThreadPoolExecutor() as pool:
        chunks = ask(gateway, pool, stream=True)
        waits(gateway, 1)
        assert not chunks.done()
        gateway.change(asleep(port_of(quick_stand_in)))
        said = [c.choices[0].delta.content or "" for c in chunks.result(10) if c.choices]
    assert "".join(said)


@pytest.mark.feature("D6")
def test_with_keep_alive_the_official_client_has_its_stream_at_once(
    start_gateway: StartGateway, quick_stand_in: StandIn
) -> None:
    gateway = start_gateway(asleep())
    with ThreadPoolExecutor() as pool:
        chunks = ask(gateway, pool, stream=True, extra_headers=ALOUD).result(10)
        waits(gateway, 1)
        gateway.change(asleep(port_of(quick_stand_in)))
        said = [chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices]
    assert "".join(said)


@pytest.mark.feature("D6")
def test_the_comments_stand_before_the_stream(
    start_gateway: StartGateway, quick_stand_in: StandIn
) -> None:
    gateway = start_gateway(asleep())
    headers = {"authorization": f"Bearer {KEY}", **ALOUD}
    body = {"model": "m", "messages": HELLO, "stream": True}
    url = f"{gateway.url}/v1/chat/completions"
    with httpx.stream("POST", url, json=body, headers=headers, timeout=10) as answer:
        lines = answer.iter_lines()
        assert (answer.status_code, next(lines)) == (200, ": waiting")
        gateway.change(asleep(port_of(quick_stand_in)))
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert all(line.startswith("data: ") for line in rest)


@pytest.mark.feature("D6")
def test_a_wait_that_is_over_is_a_503_with_retry_after(start_gateway: StartGateway) -> None:
    gateway = start_gateway(asleep(), gateway_wait_seconds_max=0.2)
    answer = gateway.post({"model": "m", "messages": HELLO})
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "wait_over"
    assert answer.headers["retry-after"] == "10"


@pytest.mark.feature("D6")
@pytest.mark.feature("A17")
def test_the_refusal_has_the_route_s_dialect(start_gateway: StartGateway) -> None:
    gateway = start_gateway(asleep(), gateway_wait_seconds_max=0.2)
    answer = gateway.post({"model": "m", "messages": HELLO, "max_tokens": 5}, "/v1/messages")
    assert (answer.status_code, answer.json()["error"]["type"]) == (503, "overloaded_error")


@pytest.mark.feature("D6")
def test_a_stream_with_comments_ends_with_the_error_in_it(start_gateway: StartGateway) -> None:
    gateway = start_gateway(asleep(), gateway_wait_seconds_max=0.2)
    client = gateway.client()
    chunks = client.chat.completions.create(
        model="m", messages=HELLO, stream=True, extra_headers=ALOUD
    )
    with pytest.raises(openai.APIError, match="No worker of this model was ready"):
        list(chunks)


@pytest.mark.feature("D6")
def test_who_hangs_up_leaves_the_line(start_gateway: StartGateway) -> None:
    gateway = start_gateway(asleep())
    impatient = gateway.client(timeout=httpx.Timeout(20, read=0.3))
    with pytest.raises(openai.APITimeoutError):
        impatient.chat.completions.create(model="m", messages=HELLO)
    asyncio.run(until(lambda: gateway.metric("ganglion_gateway_client_gone_total") == 1))
    waits(gateway, 0)


@pytest.mark.feature("D6")
def test_a_drain_refuses_those_who_wait_at_once(start_gateway: StartGateway) -> None:
    gateway = start_gateway(asleep())
    with ThreadPoolExecutor() as pool:
        answer = ask(gateway, pool)
        waits(gateway, 1)
        began = time.monotonic()
        assert gateway.stop() == 0
        with pytest.raises(openai.InternalServerError, match="shutting down"):
            answer.result(10)
    assert time.monotonic() - began < 15  # else it would wait for half a minute


@pytest.mark.feature("D6")
def test_a_deployment_that_will_not_start_refuses_its_line(start_gateway: StartGateway) -> None:
    gateway = start_gateway(asleep())
    with ThreadPoolExecutor() as pool:
        answer = ask(gateway, pool)
        waits(gateway, 1)
        gateway.change(snapshot())
        with pytest.raises(openai.InternalServerError, match="No replica"):
            answer.result(10)


def test_what_its_owner_put_to_sleep_is_not_waited_for(start_gateway: StartGateway) -> None:
    gateway = start_gateway(snapshot())
    answer = gateway.post({"model": "m", "messages": HELLO})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_ready_replica")


@pytest.mark.feature("A3")
def test_a_key_revoked_while_it_waits_reaches_no_worker(
    start_gateway: StartGateway, quick_stand_in: StandIn
) -> None:
    gateway = start_gateway(asleep())
    with ThreadPoolExecutor() as pool:
        answer = ask(gateway, pool)
        waits(gateway, 1)
        tables = asleep(port_of(quick_stand_in))
        tables.keys = tables.keys[1:]
        gateway.change(tables)
        with pytest.raises(openai.AuthenticationError):
            answer.result(10)
    assert gateway.segments() == []


@pytest.mark.feature("D6")
def test_a_pool_request_holds_no_money_while_it_waits(
    start_gateway: StartGateway, quick_stand_in: StandIn
) -> None:
    gateway = start_gateway(asleep(**POOLED))
    with ThreadPoolExecutor() as pool:
        answer = ask(gateway, pool)
        waits(gateway, 1)
        gateway.change(asleep(port_of(quick_stand_in), **POOLED))
        assert answer.result(10).usage
    assert [segment.account_id for segment in gateway.segments()] == [OWNER]


@pytest.mark.feature("D6")
def test_a_thousand_waiting_requests_are_bounded_and_fair(
    start_gateway: StartGateway, quick_stand_in: StandIn
) -> None:
    """One account floods a line of 200 places with 1,000; the other's 20 all find a place, and
    are served in turns."""
    gateway = start_gateway(asleep(**POOLED), gateway_wait_requests_max=200)
    flood = Crowd(gateway, KEY, 1000)
    waits(gateway, 200)
    others = Crowd(gateway, OTHER_KEY, 20)
    asyncio.run(until(lambda: gateway.metric("ganglion_gateway_waited_total") >= 220, 40))
    asyncio.run(until(lambda: flood.statuses.count(503) == 820, 40))  # all have come
    gateway.change(asleep(port_of(quick_stand_in), **POOLED))
    assert flood.join().count(200) == 180
    assert others.join() == [200] * 20
    served = [segment.account_id for segment in gateway.segments()]
    assert served[:42].count(OTHER) >= 18
    assert flood.statuses.count(503) == 820


class Crowd:
    """Many requests at once, each over a connection of its own; ``join`` gives their statuses."""

    def __init__(self, gateway: Gateway, key: str, count: int) -> None:
        body = json.dumps({"model": "m", "messages": HELLO, "max_tokens": 2})
        self._request = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\n"
            f"connection: close\r\ncontent-length: {len(body)}\r\n\r\n{body}"
        ).encode()
        self._port = gateway.port
        self.statuses: list[int] = []
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run(count)))
        self._thread.start()

    def join(self) -> list[int]:
        self._thread.join(60)
        return self.statuses

    async def _run(self, count: int) -> None:
        await asyncio.gather(*(self._one() for _ in range(count)))

    async def _one(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        writer.write(self._request)
        answer = await reader.read()
        writer.close()
        self.statuses.append(int(answer[9:12]))


@pytest.mark.feature("D6")
async def test_the_brain_hears_of_a_waiting_request_at_once(
    start_gateway: StartGateway, quick_stand_in: StandIn
) -> None:
    async with brain_double(asleep(scaled=True)) as brain:
        gateway = start_gateway(**brain.settings())
        await until(lambda: httpx.get(f"{gateway.url}/health/ready").status_code == 200)
        client = gateway.async_client()
        await client.models.list()  # it is connected
        began = time.monotonic()
        request = asyncio.create_task(client.chat.completions.create(model="m", messages=HELLO))
        await until(lambda: any(load.waiting for one in brain.loads for load in one.loads))
        assert time.monotonic() - began < 1
        brain.tell(ChangeLine(replica=replica_row(port_of(quick_stand_in), upstream_model=MODEL)))
        assert (await request).choices[0].message.content
        await until(lambda: brain.loads[-1].loads[-1].tokens_per_second > 0)


@pytest.mark.feature("D6")
async def test_a_brain_that_dies_in_the_middle_of_a_wake_loses_nothing(
    start_gateway: StartGateway, quick_stand_in: StandIn
) -> None:
    async with brain_double(asleep(scaled=True)) as brain:
        gateway = start_gateway(**brain.settings())
        await until(lambda: httpx.get(f"{gateway.url}/health/ready").status_code == 200)
        brain.refuse = True
        brain.hang_up()
        client = gateway.async_client(timeout=60)
        request = asyncio.create_task(client.chat.completions.create(model="m", messages=HELLO))
        await asyncio.to_thread(waits, gateway, 1)
        assert not brain.loads or not brain.loads[-1].loads[0].waiting
        brain.refuse = False
        await until(lambda: brain.loads and brain.loads[-1].loads[0].waiting == 1)
        brain.tables.replicas.append(replica_row(port_of(quick_stand_in), upstream_model=MODEL))
        brain.hang_up()
        assert (await request).choices[0].message.content
        await until(lambda: len(brain.segments) == 1)


@pytest.mark.feature("D6")
async def test_a_gateway_that_is_killed_with_requests_in_line_bills_nothing(
    start_gateway: StartGateway, quick_stand_in: StandIn
) -> None:
    async with brain_double(asleep(scaled=True, **POOLED), **{OWNER: 10**12}) as brain:
        first = start_gateway(**brain.settings())
        await until(lambda: httpx.get(f"{first.url}/health/ready").status_code == 200)
        client = first.async_client()
        lost = asyncio.create_task(client.chat.completions.create(model="m", messages=HELLO))
        await asyncio.to_thread(waits, first, 1)
        first.kill()
        with pytest.raises(openai.APIConnectionError):
            await lost
        brain.tables.replicas.append(replica_row(port_of(quick_stand_in), upstream_model=MODEL))
        terms = {"gateway_spool_dir": first.spool, "gateway_slice_wait_seconds": 20}
        again = start_gateway(**brain.settings(), **terms)
        await until(lambda: httpx.get(f"{again.url}/health/ready").status_code == 200)
        client = again.async_client()
        assert (await client.chat.completions.create(model="m", messages=HELLO)).usage
        await until(lambda: len(brain.segments) == 1)
        assert len(brain.asked) == 1  # slices of money: none for the one that only waited
