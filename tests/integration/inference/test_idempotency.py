"""``Idempotency-Key``: a request that is sent again joins the running one or gets its answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from openai import AsyncOpenAI, ConflictError

from kernel.wire.gateway import SegmentEnd
from kernel.wire.replays import ANSWER_BYTES_MAX
from tests.support.brain_double import BrainDouble, brain_double
from tests.support.gateway import KEY, Gateway, StartGateway, snapshot
from tests.support.scripted_worker import (
    CUT,
    WAIT,
    Script,
    answer,
    chunk,
    scripted_worker,
    stream_head,
)
from tests.support.wait import until
from tests.unit.inference import sse

PLAIN = b'{"id":"x","choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}'
SLOW: Script = [0.6, answer(PLAIN)]
STREAM: Script = [stream_head(), chunk(sse.HELLO), 0.5, chunk(sse.STOP + sse.DONE), chunk(b"")]


@pytest.fixture
async def client() -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(timeout=20) as made:
        yield made


async def post(
    client: httpx.AsyncClient,
    gateway: Gateway,
    key: str | None = "k1",
    path: str = "/v1/chat/completions",
    timeout: float | httpx.Timeout = 20,
    **body: Any,
) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}"}
    if key is not None:
        headers["idempotency-key"] = key
    content = json.dumps({"model": "m", "messages": [], **body}).encode()
    url = f"{gateway.url}{path}"
    return await client.post(url, content=content, headers=headers, timeout=timeout)


async def ready(gateway: Gateway) -> None:
    async with httpx.AsyncClient() as client:

        async def is_ready() -> bool:
            return (await client.get(f"{gateway.url}/health/ready")).status_code == 200

        await until(is_ready)


async def started(start_gateway: StartGateway, brain: BrainDouble, **more: object) -> Gateway:
    gateway = start_gateway(**{**brain.settings(), **more})
    await ready(gateway)
    return gateway


def code(told: httpx.Response) -> str:
    return str(told.json()["error"]["code"])


def replayed(told: httpx.Response) -> bool:
    return told.headers.get("x-idempotent-replayed") == "true"


@pytest.mark.feature("A13")
async def test_a_repeated_request_gets_the_first_ones_answer(
    start_gateway: StartGateway, client: httpx.AsyncClient
) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        first = await post(client, gateway)
        again = await post(client, gateway)
    assert (first.status_code, first.content) == (200, PLAIN) == (again.status_code, again.content)
    assert (replayed(first), replayed(again)) == (False, True)
    assert again.headers["x-request-id"] == first.headers["x-request-id"]
    assert len(worker.requests) == 1 == len(gateway.segments())


@pytest.mark.feature("A13")
async def test_two_at_once_are_one(start_gateway: StartGateway, client: httpx.AsyncClient) -> None:
    async with scripted_worker(SLOW) as worker:
        gateway = start_gateway(snapshot(worker.port))
        told = await asyncio.gather(*(post(client, gateway) for _ in range(5)))
    assert {one.content for one in told} == {PLAIN}
    assert sum(replayed(one) for one in told) == 4
    assert len(worker.requests) == 1


@pytest.mark.feature("A13")
async def test_other_input_under_the_same_key_is_refused(
    start_gateway: StartGateway, client: httpx.AsyncClient
) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        await post(client, gateway)
        told = await post(client, gateway, max_tokens=7)
    assert (told.status_code, code(told)) == (422, "idempotency_key_reused")
    assert told.headers["x-should-retry"] == "false"


@pytest.mark.parametrize("key", ["", "a b", "x" * 201])
async def test_a_key_that_is_none_is_refused(
    start_gateway: StartGateway, client: httpx.AsyncClient, key: str
) -> None:
    gateway = start_gateway(snapshot(1))
    told = await post(client, gateway, key=key)
    assert (told.status_code, code(told)) == (400, "idempotency_key_invalid")


@pytest.mark.feature("A13")
@pytest.mark.parametrize("more", [0, 1])
async def test_an_answer_of_256_kib_is_kept_and_a_longer_one_is_not(
    start_gateway: StartGateway, client: httpx.AsyncClient, more: int
) -> None:
    long = PLAIN[:-1] + b',"x":"' + b"y" * (ANSWER_BYTES_MAX - len(PLAIN) - 7 + more) + b'"}'
    async with scripted_worker([answer(long)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        first = await post(client, gateway)
        again = await post(client, gateway)
    assert (len(long), first.content) == (ANSWER_BYTES_MAX + more, long)
    if more:
        assert (again.status_code, code(again)) == (409, "idempotency_answer_not_kept")
        assert first.headers["x-request-id"] in again.json()["error"]["message"]
    else:
        assert again.content == long
    assert len(worker.requests) == 1


@pytest.mark.feature("A13")
async def test_a_streamed_answer_is_not_told_again(
    start_gateway: StartGateway, client: httpx.AsyncClient
) -> None:
    async with scripted_worker(STREAM) as worker:
        gateway = start_gateway(snapshot(worker.port))
        first = await post(client, gateway, stream=True)
        again = await post(client, gateway, stream=True)
    assert first.text.endswith("data: [DONE]\n\n")
    assert (again.status_code, code(again)) == (409, "idempotency_answer_not_kept")
    assert first.headers["x-request-id"] in again.json()["error"]["message"]
    assert again.headers["x-should-retry"] == "false"


async def test_a_request_that_no_worker_began_frees_its_key(
    start_gateway: StartGateway, client: httpx.AsyncClient
) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        assert (await post(client, gateway, model="none")).status_code == 404
        assert (await post(client, gateway)).status_code == 200


async def test_a_failed_worker_frees_the_key_as_its_time_is_not_on_the_bill(
    start_gateway: StartGateway, client: httpx.AsyncClient
) -> None:
    async with scripted_worker(lambda n: [CUT] if n == 0 else [answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        assert (await post(client, gateway)).status_code == 502
        assert (await post(client, gateway)).content == PLAIN
    ends = [one.end for one in gateway.segments()]
    assert ends == [SegmentEnd.FAILED, SegmentEnd.DONE]


async def test_a_refusal_by_the_worker_is_told_again(
    start_gateway: StartGateway, client: httpx.AsyncClient
) -> None:
    refusal = answer(b'{"error":{"message":"too hot","code":"hot"}}', status=400)
    async with scripted_worker([refusal]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        told = [await post(client, gateway) for _ in range(2)]
    assert [(one.status_code, code(one)) for one in told] == [(400, "hot")] * 2
    assert (replayed(told[1]), len(worker.requests)) == (True, 1)


@pytest.mark.feature("A13")
async def test_the_official_client_that_times_out_is_billed_once(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker([1.2, answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        async with AsyncOpenAI(
            base_url=f"{gateway.url}/v1", api_key=KEY, timeout=0.5, max_retries=5
        ) as openai:
            told = await openai.chat.completions.create(
                model="m", messages=[], extra_headers={"Idempotency-Key": "one"}
            )
    assert told.id == "x"
    assert [one.end for one in gateway.segments()] == [SegmentEnd.DONE]


async def test_a_stream_ends_with_its_client(start_gateway: StartGateway) -> None:
    async with scripted_worker([stream_head(), chunk(sse.HELLO), WAIT]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        headers = {"Idempotency-Key": "one"}
        async with gateway.async_client() as openai:
            stream = await openai.chat.completions.create(
                model="m", messages=[], stream=True, extra_headers=headers
            )
            await stream.close()
            await until(lambda: worker.aborted == 1)
            with pytest.raises(ConflictError, match="req_"):
                await openai.chat.completions.create(
                    model="m", messages=[], stream=True, extra_headers=headers
                )


# Over two gateways.


async def two(
    start_gateway: StartGateway, brain: BrainDouble, **more: object
) -> tuple[Gateway, Gateway]:
    return await started(start_gateway, brain, **more), await started(start_gateway, brain, **more)


@pytest.mark.feature("A13")
async def test_another_gateway_joins_and_replays(
    start_gateway: StartGateway, client: httpx.AsyncClient
) -> None:
    async with scripted_worker(SLOW) as worker, brain_double(snapshot(worker.port)) as brain:
        one, other = await two(start_gateway, brain)
        told = await asyncio.gather(*(post(client, at) for at in (one, other, one, other)))
        told.append(await post(client, other))
        assert {each.content for each in told} == {PLAIN}
        assert len({each.headers["x-request-id"] for each in told}) == 1
        await until(lambda: len(brain.segments) == 1)
    assert (len(worker.requests), sum(replayed(each) for each in told)) == (1, 4)


async def test_a_join_has_its_end(start_gateway: StartGateway, client: httpx.AsyncClient) -> None:
    on = asyncio.Event()
    async with (
        scripted_worker([on, answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        one, other = await two(start_gateway, brain, gateway_replay_wait_seconds=0.3)
        running = asyncio.create_task(post(client, one))
        await until(lambda: bool(worker.requests))
        told = await post(client, other)
        assert (told.status_code, code(told)) == (409, "idempotency_key_in_use")
        assert (told.headers["retry-after"], told.headers["x-should-retry"]) == ("1", "true")
        on.set()
        assert (await running).status_code == 200


@pytest.mark.feature("A13")
async def test_without_the_brain_keyed_requests_wait_and_others_go_on(
    start_gateway: StartGateway, client: httpx.AsyncClient
) -> None:
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        gateway = await started(start_gateway, brain)
        brain.refuse = True
        told = await post(client, gateway)
        assert (told.status_code, code(told), worker.requests) == (503, "unavailable", [])
        assert (await post(client, gateway, key=None)).status_code == 200
        brain.refuse = False
        assert (await post(client, gateway)).status_code == 200


async def test_an_answer_that_the_brain_did_not_take_is_told_from_memory_until_it_does(
    start_gateway: StartGateway, client: httpx.AsyncClient
) -> None:
    async with scripted_worker(SLOW) as worker, brain_double(snapshot(worker.port)) as brain:
        one, other = await two(start_gateway, brain)
        running = asyncio.create_task(post(client, one))
        await until(lambda: bool(worker.requests))
        brain.refuse = True
        assert (await running).content == PLAIN == (await post(client, one)).content
        brain.refuse = False
        assert (await post(client, other)).content == PLAIN
    assert len(worker.requests) == 1


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/embeddings", "/v1/responses"])
async def test_every_dialect_replays_and_refuses_in_its_own_words(
    start_gateway: StartGateway, client: httpx.AsyncClient, path: str
) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        told = [await post(client, gateway, path=path) for _ in range(2)]
        other = await post(client, gateway, path=path, x=1)
    assert [one.content for one in told] == [PLAIN] * 2
    assert other.status_code == 422
    assert ("type" in other.json()) == (path == "/v1/messages")


async def test_the_same_key_on_another_route_is_another_request(
    start_gateway: StartGateway, client: httpx.AsyncClient
) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        assert (await post(client, gateway)).status_code == 200
        assert (await post(client, gateway, path="/v1/embeddings")).status_code == 422


async def test_a_plain_request_goes_on_without_its_client(
    start_gateway: StartGateway, client: httpx.AsyncClient
) -> None:
    async with scripted_worker(SLOW) as worker:
        gateway = start_gateway(snapshot(worker.port))
        with pytest.raises(httpx.ReadTimeout):
            await post(client, gateway, timeout=httpx.Timeout(20, read=0.2))
        assert (await post(client, gateway)).content == PLAIN
    assert [one.end for one in gateway.segments()] == [SegmentEnd.DONE]
