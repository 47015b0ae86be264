"""What workers say of their KV caches, from their pages of metrics to the brain."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest

from kernel.wire.gateway import Load, Snapshot
from tests.integration.inference.test_waiting import port_of
from tests.support.brain_double import BrainDouble, brain_double
from tests.support.gateway import Gateway, StartGateway, snapshot
from tests.support.scripted_worker import WAIT, answer, scripted_worker
from tests.support.standin import MODEL, StartStandIn
from tests.support.wait import until

LONG: list[Any] = [{"role": "user", "content": "long " * 900}]
QUICK = {"gateway_worker_metrics_seconds": 0.2}


def scaled(*ports: int) -> Snapshot:
    return snapshot(*ports, upstream_model=MODEL, scaled=True, concurrency=256)


def newest(brain: BrainDouble) -> Load:
    return brain.loads[-1].loads[-1] if brain.loads and brain.loads[-1].loads else Load("none")


async def ready(gateway: Gateway) -> None:
    await until(lambda: httpx.get(f"{gateway.url}/health/ready").status_code == 200)


@pytest.mark.feature("D6")
async def test_a_few_long_requests_fill_a_cache_and_the_brain_hears_of_it(
    start_gateway: StartGateway, stand_in_worker: StartStandIn
) -> None:
    worker = stand_in_worker("--kv-cache-tokens", "2000", "--tokens-per-second", "20")
    async with brain_double(scaled(port_of(worker))) as brain:
        gateway = start_gateway(**brain.settings(), **QUICK)
        await ready(gateway)
        client = gateway.async_client()
        asked = [
            asyncio.create_task(client.chat.completions.create(model="m", messages=LONG))
            for _ in range(2)
        ]
        await until(lambda: newest(brain).caches > 0.8, 20)
        assert newest(brain).in_flight <= 2
        for one in asked:
            one.cancel()
        await until(lambda: newest(brain).caches == 0, 20)


@pytest.mark.feature("D6")
async def test_requests_that_queue_at_a_worker_are_told(
    start_gateway: StartGateway, stand_in_worker: StartStandIn
) -> None:
    worker = stand_in_worker("--max-num-seqs", "1", "--tokens-per-second", "5")
    async with brain_double(scaled(port_of(worker))) as brain:
        gateway = start_gateway(**brain.settings(), **QUICK)
        await ready(gateway)
        client = gateway.async_client()
        asked = [
            asyncio.create_task(client.chat.completions.create(model="m", messages=LONG))
            for _ in range(3)
        ]
        told = 2.0, 2
        assert await until(lambda: (newest(brain).caches, newest(brain).queued) == told, 20)
        for one in asked:
            one.cancel()


@pytest.mark.parametrize(
    "page", [[WAIT], [answer(b"no", status=404)], [answer(b"x" * 3_000_000, kind="text/plain")]]
)
async def test_a_worker_that_does_not_tell_is_asked_again_and_serves_on(
    start_gateway: StartGateway, page: Any
) -> None:
    async with scripted_worker(page) as worker:
        tables = snapshot(worker.port, scaled=True)
        async with brain_double(tables) as brain:
            gateway = start_gateway(**brain.settings(), **QUICK)
            await until(lambda: len(worker.requests) >= 2, 20)
            assert all(b"GET /metrics " in request for request in worker.requests)
            await until(lambda: brain.loads)
            assert newest(brain).caches == 0
            await ready(gateway)


async def test_a_worker_that_tells_of_too_many_tokens_silences_nobody(
    start_gateway: StartGateway,
) -> None:
    lie = b'{"choices":[],"usage":{"prompt_tokens":1,"completion_tokens":1000000000000}}'
    async with scripted_worker([answer(lie)]) as worker:
        tables = snapshot(worker.port, scaled=True)
        async with brain_double(tables) as brain:
            gateway = start_gateway(**brain.settings(), gateway_worker_metrics_seconds=0)
            await ready(gateway)
            assert (await asyncio.to_thread(gateway.post, {"model": "m"})).status_code == 200
            assert await until(lambda: newest(brain).tokens_per_second > 0, 20)


async def test_workers_of_what_is_not_scaled_are_left_alone(start_gateway: StartGateway) -> None:
    worker = scripted_worker([answer(b"{}")])
    async with worker as left, brain_double(snapshot(left.port)) as brain:
        gateway = start_gateway(**brain.settings(), **QUICK)
        await ready(gateway)
        await until(lambda: brain.batches, 20)
        assert left.requests == []
