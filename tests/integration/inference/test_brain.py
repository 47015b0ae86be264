"""The gateway beside a brain: usage shipped once, slices, revocation, and life without it."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from kernel.wire.gateway import AccountRow, ChangeLine, ReplicaState, SegmentEnd, Snapshot
from tests.support.brain_double import BrainDouble, brain_double
from tests.support.gateway import (
    KEY,
    OWNER,
    Gateway,
    StartGateway,
    key_row,
    numbered,
    replica_row,
    snapshot,
)
from tests.support.scripted_worker import Script, answer, chunk, scripted_worker, stream_head
from tests.support.tls_front import tls_front
from tests.support.wait import until
from tests.unit.inference import sse

PLAIN = b'{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}'
HOUR_NANO = 3_600_000_000_000
POOL_RATE = 2 * 10**9  # a hold of 30 s on one GPU is 16,666,667 nano-dollars
HOLD = 16_666_667
PATIENT = {"gateway_slice_wait_seconds": 20}  # our own loop may answer late


@dataclass
class Reply:
    status: int
    code: str
    retry_after: str | None


async def post(gateway: Gateway, key: str = KEY, stream: bool = False) -> Reply:
    body = json.dumps({"model": "m", "stream": stream}).encode()
    async with httpx.AsyncClient(timeout=20) as client:
        path = f"{gateway.url}/v1/chat/completions"
        headers = {"authorization": f"Bearer {key}"}
        told = await client.post(path, content=body, headers=headers)
    code = "" if told.status_code == 200 else told.json()["error"]["code"]
    return Reply(told.status_code, code, told.headers.get("retry-after"))


def start(start_gateway: StartGateway, brain: BrainDouble, **more: object) -> Gateway:
    return start_gateway(**{**brain.settings(), **more})


async def ready(gateway: Gateway) -> None:
    async with httpx.AsyncClient() as client:
        url = f"{gateway.url}/health/ready"
        await until(lambda: _is_200(client, url))


async def _is_200(client: httpx.AsyncClient, url: str) -> bool:
    return (await client.get(url)).status_code == 200


def pool(*ports: int) -> Snapshot:
    return snapshot(*ports, pool=True, rate_nano=POOL_RATE)


@pytest.mark.feature("O4")
async def test_not_ready_until_the_first_snapshot(start_gateway: StartGateway) -> None:
    async with brain_double(snapshot(1)) as brain:
        brain.refuse = True
        gateway = start(start_gateway, brain)
        async with httpx.AsyncClient() as client:
            assert (await client.get(f"{gateway.url}/health/live")).status_code == 200
            assert (await client.get(f"{gateway.url}/health/ready")).status_code == 503
        told = await post(gateway)
        assert (told.status, told.retry_after) == (503, "1")
        brain.refuse = False
        await ready(gateway)


@pytest.mark.feature("A10")
async def test_usage_arrives_once_with_watermarks_behind_it(start_gateway: StartGateway) -> None:
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        gateway = start(start_gateway, brain)
        await ready(gateway)
        for _ in range(5):
            assert (await post(gateway)).status == 200
        await until(lambda: len(brain.segments) == 5)
        for one in brain.segments.values():
            assert (one.end, one.prompt_tokens, one.completion_tokens) == (SegmentEnd.DONE, 4, 2)
        last = max(one.end_ns for one in brain.segments.values())
        await until(lambda: brain.batches[-1].watermarks[0].until_ns > last)


async def test_over_tls_the_authorities_are_read_once(
    start_gateway: StartGateway, tmp_path: Path
) -> None:
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
        tls_front(brain.port, tmp_path) as front,
    ):
        trust = {"brain_url": front.url, "ssl_cert_file": front.certificate}
        gateway = start(start_gateway, brain, **trust)
        await ready(gateway)
        front.certificate.unlink()
        assert (await post(gateway)).status == 200
        await until(lambda: len(brain.segments) == 1)


async def test_a_batch_whose_answer_was_lost_is_sent_again_and_counts_once(
    start_gateway: StartGateway,
) -> None:
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        gateway = start(start_gateway, brain)
        await ready(gateway)
        brain.fail_next = 2
        assert (await post(gateway)).status == 200
        await until(lambda: brain.fail_next == 0 and len(brain.segments) == 1)
        assert (await post(gateway)).status == 200
        await until(lambda: len(brain.segments) == 2)


@pytest.mark.feature("G1")
async def test_a_long_stream_is_cut_into_pieces_and_never_behind_its_watermark(
    start_gateway: StartGateway,
) -> None:
    script: Script = [stream_head()]
    for _ in range(15):
        script += [chunk(sse.HELLO), 0.1]
    script += [chunk(sse.STOP + sse.DONE), chunk(b"")]
    async with scripted_worker(script) as worker, brain_double(snapshot(worker.port)) as brain:
        gateway = start(start_gateway, brain, gateway_cut_seconds_max=0.4)
        await ready(gateway)
        assert (await post(gateway, stream=True)).status == 200
        await until(lambda: any(one.end is SegmentEnd.DONE for one in brain.segments.values()))
        pieces = sorted(brain.segments.values(), key=lambda one: one.number)
        assert len(pieces) >= 3
        assert [a.end_ns for a in pieces[:-1]] == [b.start_ns for b in pieces[1:]]
        seen: set[str] = set()
        for batch in brain.batches:
            seen |= {one.key for one in batch.segments}
            for mark in batch.watermarks:
                early = [one.key for one in pieces if one.end_ns <= mark.until_ns]
                assert set(early) <= seen


@pytest.mark.feature("A20")
async def test_the_pool_takes_a_slice_and_gives_it_back(start_gateway: StartGateway) -> None:
    on = asyncio.Event()
    held: Script = [on, answer(PLAIN)]
    script = lambda number: [answer(PLAIN)] if number else held  # noqa: E731
    async with scripted_worker(script) as worker, brain_double(pool(worker.port)) as brain:
        brain.money[OWNER] = 10**10
        gateway = start(start_gateway, brain, gateway_slice_idle_seconds=0.5, **PATIENT)
        await ready(gateway)
        first = asyncio.create_task(post(gateway))  # while it runs the slice is in use
        await until(lambda: len(worker.requests) == 1)
        for _ in range(2):
            assert (await post(gateway)).status == 200
        assert len(brain.slices) == 1
        assert brain.returned == []
        on.set()
        assert (await first).status == 200
        await until(lambda: brain.returned == list(brain.slices))
        assert {one.slice_id for one in brain.segments.values()} == set(brain.slices)


async def test_dedicated_requests_take_no_slice(start_gateway: StartGateway) -> None:
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        gateway = start(start_gateway, brain)
        await ready(gateway)
        assert (await post(gateway)).status == 200
        assert brain.asked == []


@pytest.mark.feature("A9")
async def test_without_money_the_pool_refuses_with_402(start_gateway: StartGateway) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker, brain_double(pool(worker.port)) as brain:
        brain.money[OWNER] = HOLD - 1
        gateway = start(start_gateway, brain, **PATIENT)
        await ready(gateway)
        told = await post(gateway)
        assert (told.status, told.code) == (402, "insufficient_quota")
        assert worker.requests == []


@pytest.mark.feature("G5")
async def test_with_money_for_k_at_most_k_reach_a_worker(start_gateway: StartGateway) -> None:
    async with (
        scripted_worker([0.5, answer(PLAIN)]) as worker,
        brain_double(pool(worker.port)) as brain,
    ):
        brain.money[OWNER] = 7 * HOLD
        gateway = start(start_gateway, brain, gateway_slice_nano=2 * HOLD, **PATIENT)
        await ready(gateway)
        told = await asyncio.gather(*(post(gateway) for _ in range(60)))
        assert sum(one.status == 200 for one in told) == len(worker.requests) <= 7
        assert {one.status for one in told} <= {200, 402}


async def test_a_piece_that_ends_stops_nobody_whose_hold_lasts(start_gateway: StartGateway) -> None:
    async with (
        scripted_worker([2.5, answer(PLAIN)]) as worker,
        brain_double(pool(worker.port)) as brain,
    ):
        brain.money[OWNER] = 2 * HOLD
        terms = {"gateway_slice_nano": 2 * HOLD, "gateway_cut_seconds_max": 1, **PATIENT}
        gateway = start(start_gateway, brain, **terms)
        await ready(gateway)
        told = await asyncio.gather(post(gateway), post(gateway))
        assert [one.status for one in told] == [200, 200]


async def test_money_that_cannot_be_checked_is_503_after_a_second(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker([answer(PLAIN)]) as worker, brain_double(pool(worker.port)) as brain:
        gateway = start(start_gateway, brain)
        await ready(gateway)
        brain.refuse = True
        told = await post(gateway)
        assert (told.status, told.retry_after) == (503, "1")


async def test_a_running_request_whose_money_ends_is_stopped(start_gateway: StartGateway) -> None:
    script: Script = [stream_head(), chunk(sse.HELLO), 20.0]
    tables = snapshot(0, pool=True, rate_nano=HOUR_NANO)
    async with scripted_worker(script) as worker, brain_double(tables) as brain:
        tables.replicas[0] = replica_row(worker.port)
        tables.keys[0] = key_row(cost_limit_nano=4 * 10**9)  # so much is held, for four seconds
        brain.money[OWNER] = 4 * 10**9
        gateway = start(start_gateway, brain, gateway_cut_seconds_max=1)
        await ready(gateway)
        async with gateway.async_client() as client:
            stream = await client.chat.completions.create(model="m", messages=[], stream=True)
            with pytest.raises(Exception, match="out of credit"):
                async for _ in stream:
                    pass


@pytest.mark.feature("I3")
async def test_a_revoked_key_is_refused_at_once(start_gateway: StartGateway) -> None:
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        gateway = start(start_gateway, brain)
        await ready(gateway)
        assert (await post(gateway)).status == 200
        brain.tell(ChangeLine(drop_key=brain.tables.keys[0].key_id))

        async def refused() -> bool:
            return (await post(gateway)).status == 401

        await until(refused, 3)  # ``make bench ONLY=outages`` tells the time


async def test_a_stopped_account_is_refused(start_gateway: StartGateway) -> None:
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        gateway = start(start_gateway, brain)
        await ready(gateway)
        brain.tell(ChangeLine(account=AccountRow(OWNER, stopped=True)))

        async def refused() -> bool:
            return (await post(gateway)).status == 402

        assert await until(refused)


@pytest.mark.feature("O4")
async def test_without_the_brain_known_keys_go_on_and_unknown_ones_wait(
    start_gateway: StartGateway,
) -> None:
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        gateway = start(start_gateway, brain, snapshot_stale_seconds=6)
        await ready(gateway)
        brain.refuse = True
        brain.hang_up()

        async def unknown() -> Reply:
            return await post(gateway, "gk_unknown")

        async def waits() -> bool:
            return (await unknown()).status == 503

        await until(waits)
        assert (await post(gateway)).status == 200

        async def stale() -> bool:
            return (await post(gateway)).status == 503

        await until(stale)
        brain.refuse = False
        await ready(gateway)
        assert (await post(gateway)).status == 200
        assert (await unknown()).status == 401
        await until(lambda: len(brain.segments) >= 2)


@pytest.mark.feature("O4", "A9")
async def test_while_the_brain_is_blind_an_unknown_key_may_be_a_new_one(
    start_gateway: StartGateway,
) -> None:
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        gateway = start(start_gateway, brain)
        await ready(gateway)
        for line, status in ((ChangeLine(blind=True), 503), (ChangeLine(beat=True), 401)):
            brain.tell(line)

            async def told(status: int = status) -> bool:
                return (await post(gateway, "gk_unknown")).status == status

            await until(told)
            assert (await post(gateway)).status == 200


async def test_a_draining_replica_finishes_and_takes_nothing_new(
    start_gateway: StartGateway,
) -> None:
    on = asyncio.Event()
    held: Script = [stream_head(), chunk(sse.HELLO), on, chunk(sse.STOP + sse.DONE), chunk(b"")]
    async with scripted_worker(held) as worker, brain_double(snapshot(worker.port)) as brain:
        gateway = start(start_gateway, brain)
        await ready(gateway)
        running = asyncio.create_task(post(gateway, stream=True))
        await until(lambda: len(worker.requests) == 1)
        drains = replica_row(worker.port, state=ReplicaState.DRAINING)
        brain.tell(ChangeLine(replica=drains))
        await until(lambda: _mark(brain) == (1, True))
        assert (await post(gateway)).status == 503
        on.set()
        assert (await running).status == 200
        await until(lambda: _mark(brain) == (0, True))


def _mark(brain: BrainDouble) -> tuple[int, bool] | None:
    marks = {one.replica_id: one for batch in brain.batches for one in batch.watermarks}
    one = marks.get(numbered("rep", 1))
    return (one.in_flight, one.draining) if one else None


async def test_a_missed_change_is_found_by_the_digest(start_gateway: StartGateway) -> None:
    async with (
        scripted_worker([answer(PLAIN)]) as worker,
        brain_double(snapshot(worker.port)) as brain,
    ):
        gateway = start(start_gateway, brain)
        await ready(gateway)
        brain.tables.keys.clear()  # changed, and nobody was told
        brain.tell(ChangeLine(digest="not what the gateway has"))

        async def refused() -> bool:
            return (await post(gateway)).status == 401

        assert await until(refused)
