"""Workers that fail: another is tried before the first content, never after; and no failure
looks like success.
"""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

import httpx
import openai
import pytest

from inference.route import FAILURES_TO_REST, RESTS_NS
from kernel.wire.gateway import SegmentEnd
from tests.support.gateway import KEY, StartGateway, snapshot
from tests.support.scripted_worker import (
    CUT,
    WAIT,
    Script,
    answer,
    chunk,
    scripted_worker,
    stream_head,
)
from tests.support.wait import free_port, until
from tests.unit.inference import sse

PLAIN = json.dumps({"choices": [{"message": {"content": "hi"}, "finish_reason": "stop"}]}).encode()
BODY = {"model": "m", "stream": True}
GOOD: Script = [stream_head(), chunk(sse.WHOLE), chunk(b"")]
PAUSED: Script = [stream_head(), chunk(sse.HELLO), 30.0]


def stream_of(*parts: bytes) -> Script:
    return [stream_head(), *(chunk(part) for part in parts), chunk(b"")]


async def post(url: str, body: object = BODY) -> tuple[int, bytes]:
    """Status and body; a body that was cut off counts as far as it came."""
    async with httpx.AsyncClient(timeout=20) as client:
        return await post_by(client, url, body)


async def post_by(client: httpx.AsyncClient, url: str, body: object) -> tuple[int, bytes]:
    headers = {"authorization": f"Bearer {KEY}"}
    content = b""
    path = f"{url}/v1/chat/completions"
    async with client.stream("POST", path, json=body, headers=headers) as response:
        try:
            async for part in response.aiter_bytes():
                content += part
        except httpx.RemoteProtocolError:
            content += b"<cut>"
        return response.status_code, content


@pytest.mark.feature("A12")
@pytest.mark.parametrize(
    "bad",
    [
        [CUT],
        [b"HTTP/1.1 200 OK\r\n", CUT],
        [b"garbage\r\n\r\n", CUT],
        [stream_head(), CUT],
        [stream_head(), chunk(sse.ROLE), CUT],
        stream_of(sse.ROLE),
        stream_of(b"data: {nonsense\n\n"),
        stream_of(sse.ROLE, sse.event({"error": {"message": "x", "code": 500}}), sse.DONE),
        stream_of(sse.ROLE, sse.DONE),
        [answer(b"{}", status=500)],
        [answer(b"{}", status=503)],
        [answer(b"{}", status=429)],
        [answer(b"not json")],
        [answer(b'{"error":{"message":"died"}}')],
        [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nab", CUT],
    ],
)
async def test_before_the_first_content_another_replica_answers(
    start_gateway: StartGateway, bad: Script
) -> None:
    async with scripted_worker(bad) as first, scripted_worker(GOOD) as second:
        gateway = start_gateway(snapshot(first.port, second.port))
        assert await post(gateway.url) == (200, sse.SHOWN)
        assert (len(first.requests), len(second.requests)) == (1, 1)
        ends = [(one.attempt, one.end) for one in gateway.segments()]
        assert ends == [(0, SegmentEnd.FAILED), (1, SegmentEnd.DONE)]


@pytest.mark.feature("A12")
async def test_a_worker_that_cannot_be_reached_costs_nothing(start_gateway: StartGateway) -> None:
    async with scripted_worker(GOOD) as second:
        gateway = start_gateway(snapshot(free_port(), second.port))
        assert (await post(gateway.url))[0] == 200
        assert [one.attempt for one in gateway.segments()] == [1]


@pytest.mark.feature("A12")
@pytest.mark.parametrize(
    "bad",
    [
        [stream_head(), chunk(sse.HELLO), CUT],
        stream_of(sse.HELLO),
        stream_of(sse.HELLO, sse.DONE),
        stream_of(sse.HELLO, b"data: {nonsense\n\n", sse.STOP, sse.DONE),
        stream_of(sse.HELLO, sse.event({"error": {"message": "x", "code": 500}}), sse.DONE),
        [stream_head(), chunk(sse.HELLO), b"garbage"],
    ],
)
async def test_after_it_the_stream_ends_with_an_error_and_no_done(
    start_gateway: StartGateway, bad: Script
) -> None:
    async with scripted_worker(bad) as first, scripted_worker(GOOD) as second:
        gateway = start_gateway(snapshot(first.port, second.port))
        status, content = await post(gateway.url)
        assert (status, second.requests) == (200, [])
        events = [event for event in content.split(b"\n\n") if event]
        assert json.loads(events[-1][6:])["error"]["code"] == "upstream_failed"
        assert b"[DONE]" not in content


@pytest.mark.feature("A12")
async def test_cut_anywhere_the_client_knows_or_has_all(start_gateway: StartGateway) -> None:
    """The worker's bytes end at every 7th place of a whole answer; it has no other."""
    whole = b"".join(part for part in GOOD if isinstance(part, bytes))
    for place in range(0, len(whole), 35):
        cuts = iter(range(place, place + 35, 7))
        workers = [scripted_worker([whole[:cut], CUT]) for cut in cuts]
        async with workers[0] as a, workers[1] as b, workers[2] as c, workers[3] as d:
            gateway = start_gateway(snapshot(a.port, b.port, c.port, d.port), gateway_tries_max=1)
            for _ in range(4):
                status, content = await post(gateway.url)
                assert status in (200, 502)
                complete = content.endswith(sse.DONE)
                assert complete or b'"error"' in content
                assert not complete or content == sse.SHOWN


@pytest.mark.feature("A12")
@pytest.mark.parametrize(
    ("wait", "setting", "status"),
    [
        ([30.0], "gateway_first_byte_seconds_max", 504),
        ([stream_head(), 30.0], "gateway_first_byte_seconds_max", 504),
        ([stream_head(), chunk(sse.ROLE), 30.0], "gateway_first_byte_seconds_max", 504),
        (PAUSED, "gateway_idle_seconds_max", 200),
        (PAUSED, "gateway_total_seconds_max", 200),
    ],
)
async def test_each_wait_has_its_limit(
    start_gateway: StartGateway, wait: Script, setting: str, status: int
) -> None:
    async with scripted_worker(wait) as worker:
        gateway = start_gateway(snapshot(worker.port), **{setting: 0.3})
        began = time.monotonic()
        told, content = await post(gateway.url)
        assert told == status
        assert b"upstream_timeout" in content
        assert time.monotonic() - began < 15  # the worker's own pause is twice as long


async def test_a_client_error_is_not_tried_elsewhere(start_gateway: StartGateway) -> None:
    refused = [answer(b'{"error":{"message":"too long","code":400}}', status=400)]
    async with scripted_worker(refused) as first, scripted_worker(GOOD) as second:
        gateway = start_gateway(snapshot(first.port, second.port))
        status, content = await post(gateway.url)
        assert (status, second.requests) == (400, [])
        assert json.loads(content)["error"]["message"] == "too long"


@pytest.mark.feature("A9")
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (429, openai.RateLimitError),
        (500, openai.InternalServerError),
        (503, openai.InternalServerError),
        (401, openai.InternalServerError),
    ],
)
async def test_when_all_fail_the_last_failure_is_told(
    start_gateway: StartGateway, status: int, error: Any
) -> None:
    async with scripted_worker([answer(b"{}", status=status)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        async with gateway.async_client() as client:
            with pytest.raises(error):
                await client.chat.completions.create(model="m", messages=[])


async def test_a_kept_connection_closed_under_us_is_dialled_anew(
    start_gateway: StartGateway,
) -> None:
    def script(number: int) -> Script:
        return [CUT] if number == 1 else [answer(PLAIN)]

    async with scripted_worker(script) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_link_idle_seconds=60)
        for _ in range(2):
            assert await post(gateway.url, {"model": "m"}) == (200, PLAIN)
        assert len(worker.requests) == 3


async def test_a_failing_sole_worker_is_left_alone_for_a_while(
    start_gateway: StartGateway,
) -> None:
    async with scripted_worker([answer(b"{}", status=500)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        told = [(await post(gateway.url))[0] for _ in range(2)]
        told += [status for status, _ in await asyncio.gather(*map(post, [gateway.url] * 8))]
        assert told == [502, 502] + [503] * 8
        assert len(worker.requests) == 2


@pytest.mark.feature("A12")
@pytest.mark.parametrize("dead", ["says nothing", "breaks off", "is not there"])
async def test_once_one_was_found_dead_no_request_waits_for_it(
    start_gateway: StartGateway, dead: str
) -> None:
    script: Script = [CUT] if dead == "breaks off" else [WAIT]
    async with scripted_worker(script) as first, scripted_worker([answer(PLAIN)]) as second:
        port = free_port() if dead == "is not there" else first.port
        tables = snapshot(port, second.port)
        gateway = start_gateway(tables, gateway_first_byte_seconds_max=1)
        for _ in range(FAILURES_TO_REST):  # without a prompt, and idle: the first is asked first
            began_ns = time.monotonic_ns()
            assert (await post(gateway.url, {"model": "m"}))[0] == 200
        tried, asked = len(first.requests), 0
        async with httpx.AsyncClient(timeout=20) as client:
            while asked < 100 and time.monotonic_ns() - began_ns < RESTS_NS[0] // 2:
                ten = (post_by(client, gateway.url, {"model": "m"}) for _ in range(10))
                assert {status for status, _ in await asyncio.gather(*ten)} == {200}
                asked += 10
        assert len(first.requests) == tried == (0 if dead == "is not there" else FAILURES_TO_REST)
        answered = [one.attempt for one in gateway.segments() if one.end is SegmentEnd.DONE]
        assert answered == [1] * FAILURES_TO_REST + [0] * asked
        assert asked


async def test_connections_to_a_worker_are_kept(start_gateway: StartGateway) -> None:
    async with scripted_worker(GOOD) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_link_idle_seconds=60)
        for _ in range(5):
            await post(gateway.url)
        assert len(worker._open) == 1


async def test_a_long_plain_answer_that_is_cut_looks_cut(start_gateway: StartGateway) -> None:
    half: Script = [b"HTTP/1.1 200 OK\r\ncontent-length: 400000\r\n\r\n" + b"x" * 200_000, CUT]
    async with scripted_worker(half) as worker:
        gateway = start_gateway(snapshot(worker.port))
        _, content = await post(gateway.url, {"model": "m"})
        assert content.endswith(b"<cut>")
        await until(lambda: [one.end for one in gateway.segments()] == [SegmentEnd.FAILED])


def long_plain(*, chunked: bool, **more: object) -> Script:
    """A plain answer of 300 KB in two pieces."""
    usage = {"prompt_tokens": 5, "completion_tokens": 2}
    choice = {"message": {"content": "x" * 300_000}, "finish_reason": "stop"}
    body = json.dumps({"choices": [choice], "usage": usage} | more).encode()
    if not chunked:
        whole = answer(body)
        return [whole[:200_000], 0.05, whole[200_000:]]
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    return [head, chunk(body[:200_000]), 0.05, chunk(body[200_000:]), chunk(b"")]


@pytest.mark.feature("A12")
@pytest.mark.parametrize("chunked", [False, True])
@pytest.mark.parametrize(
    "bad", [{"error": {"message": "died"}}, {"more": [{"finish_reason": "abort"}]}]
)
async def test_a_long_plain_answer_that_ends_in_a_failure_looks_cut(
    start_gateway: StartGateway, bad: dict[str, Any], chunked: bool
) -> None:
    async with scripted_worker(long_plain(chunked=chunked, **bad)) as worker:
        gateway = start_gateway(snapshot(worker.port))
        _, content = await post(gateway.url, {"model": "m"})
        assert content.endswith(b"<cut>")
        await until(lambda: [one.end for one in gateway.segments()] == [SegmentEnd.FAILED])


@pytest.mark.feature("A12")
async def test_one_that_begins_as_a_failure_is_asked_of_another(
    start_gateway: StartGateway,
) -> None:
    died = answer(json.dumps({"error": {"message": "died " * 30_000}}).encode())
    async with scripted_worker([died]) as first, scripted_worker([answer(PLAIN)]) as second:
        gateway = start_gateway(snapshot(first.port, second.port))
        assert await post(gateway.url, {"model": "m"}) == (200, PLAIN)
        assert (len(first.requests), len(second.requests)) == (1, 1)


@pytest.mark.parametrize("chunked", [False, True])
async def test_one_that_is_whole_is_passed_on_and_its_connection_kept(
    start_gateway: StartGateway, chunked: bool
) -> None:
    async with scripted_worker(long_plain(chunked=chunked)) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_link_idle_seconds=60)
        for _ in range(3):
            status, content = await post(gateway.url, {"model": "m"})
            assert (status, json.loads(content)["usage"]["prompt_tokens"]) == (200, 5)
        assert len(worker._open) == 1
        told = [(one.end, one.prompt_tokens) for one in gateway.segments()]
        assert told == [(SegmentEnd.DONE, 5)] * 3


NONSENSE = {
    "no JSON": b"no JSON",
    "no list": b"{}",
    "nothing": b'{"data":[]}',
    "too deep": b'{"data":[{"id":"m","x":%b%b}]}' % (b"[" * 5000, b"]" * 5000),
    "too large": b'{"data":[{"id":"m","x":1e999}]}',
    "no text": b'{"data":[{"id":"m","x":"\xff"}]}',
}


@pytest.mark.parametrize("listed", NONSENSE.values(), ids=NONSENSE)
async def test_a_worker_that_lists_nonsense_spoils_no_list(
    start_gateway: StartGateway, listed: bytes
) -> None:
    async with scripted_worker([answer(listed)]) as worker:
        gateway = start_gateway(snapshot(worker.port))
        async with httpx.AsyncClient(headers={"authorization": f"Bearer {KEY}"}) as client:
            found = (await client.get(f"{gateway.url}/v1/models", timeout=10)).json()
        assert [one["id"] for one in found["data"]] == ["m"]
        assert gateway.stop() == 0
    assert "Traceback" not in gateway.log.read_text()
