"""Streams that another worker goes on with, through a real gateway, where their client asked it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import pytest

from kernel.wire.gateway import SegmentEnd
from tests.support.gateway import KEY, Gateway, StartGateway, snapshot
from tests.support.scripted_worker import CUT, Script, answer, chunk, scripted_worker, stream_head
from tests.support.standin import MODEL, StandIn, start_stand_in
from tests.support.wait import until
from tests.unit.inference import sse
from tests.unit.inference.test_story import texts, word

GOES_ON = {"x-ganglion-continue": "true"}
BODY: dict[str, Any] = {"model": "m", "stream": True, "messages": []}
FIRST = [sse.ROLE, word("Hello", 1), word(" wör", 2)]
REST = [sse.ROLE, word("ld", 1, 9), sse.STOP, sse.usage(9, 2), sse.DONE]
ASK: dict[str, Any] = {
    "model": "m",
    "stream": True,
    "stream_options": {"include_usage": True},
    "extra_headers": GOES_ON,
}


def stream_of(*parts: bytes, end: bytes | str = b"0\r\n\r\n") -> Script:
    return [stream_head(), *(chunk(part) for part in parts), end]


DYING = stream_of(*FIRST, end=CUT)
GOOD = stream_of(*REST)


@dataclass
class House:
    """Workers that share a list of what to say: whichever is asked first says the first."""

    ports: list[int] = field(default_factory=list)
    asked: list[Any] = field(default_factory=list)


@asynccontextmanager
async def workers(*scripts: Script, count: int = 3) -> AsyncIterator[House]:
    house, left = House(), list(scripts)
    async with AsyncExitStack() as stack:

        def say(worker: int, number: int) -> Script:
            request = made[worker].requests[number]
            house.asked.append(json.loads(request.partition(b"\r\n\r\n")[2]))
            return left.pop(0)

        made = [
            await stack.enter_async_context(scripted_worker(partial(say, number)))
            for number in range(count)
        ]
        house.ports = [worker.port for worker in made]
        yield house


async def post(gateway: Gateway, body: object = BODY, **headers: str) -> bytes:
    headers = {"authorization": f"Bearer {KEY}", **GOES_ON, **headers}
    async with httpx.AsyncClient(timeout=20) as client:
        url = f"{gateway.url}/v1/chat/completions"
        return (await client.post(url, json=body, headers=headers)).content


def counted(gateway: Gateway) -> list[tuple[int, SegmentEnd, int, int, bool]]:
    return [
        (one.attempt, one.end, one.prompt_tokens, one.completion_tokens, one.tokens_estimated)
        for one in gateway.segments()
    ]


@pytest.mark.feature("A12")
async def test_the_text_goes_on_where_it_stopped(start_gateway: StartGateway) -> None:
    async with workers(DYING, GOOD) as house:
        gateway = start_gateway(snapshot(*house.ports))
        content = await post(gateway)
        assert (texts(content), content.endswith(sse.DONE)) == ("Hello wörld", True)
        assert (content.count(b"role"), content.count(b"usage")) == (1, 0)
        assert house.asked[1]["messages"] == [{"role": "assistant", "content": "Hello wör"}]
        assert gateway.metric("ganglion_gateway_continued_total") == 1


@pytest.mark.feature("A12")
async def test_nobody_goes_on_with_a_plain_answer(start_gateway: StartGateway) -> None:
    """A worker does not stream what was asked as a stream, and breaks off: that is to be seen."""
    plain = answer(json.dumps({"choices": [{"message": {"content": "a" * 200_000}}]}).encode())
    async with workers([plain[:150_000], CUT], GOOD) as house:
        gateway = start_gateway(snapshot(*house.ports))
        with pytest.raises(httpx.RemoteProtocolError):
            await post(gateway)
        assert len(house.asked) == 1


@pytest.mark.feature("A12")
@pytest.mark.feature("A10")
async def test_both_tries_are_counted_as_they_were(start_gateway: StartGateway) -> None:
    async with workers(DYING, GOOD) as house:
        gateway = start_gateway(snapshot(*house.ports))
        await post(gateway)
        assert counted(gateway) == [
            (0, SegmentEnd.FAILED, 7, 2, False),
            (1, SegmentEnd.DONE, 9, 2, False),
        ]
        first, second = gateway.segments()
        assert first.end_ns <= second.start_ns


@pytest.mark.feature("A12")
async def test_who_did_not_ask_for_it_is_told_of_the_failure(start_gateway: StartGateway) -> None:
    async with workers(DYING, GOOD) as house:
        gateway = start_gateway(snapshot(*house.ports))
        content = await post(gateway, **{"x-ganglion-continue": "false"})
        assert (texts(content), len(house.asked)) == ("Hello wör", 1)
        assert b"upstream_failed" in content
        assert sse.DONE not in content


@pytest.mark.feature("A12")
@pytest.mark.parametrize(
    "follower",
    [
        [answer(b'{"error":{"message":"no such template","code":400}}', status=400)],
        [answer(b'{"choices":[]}')],
        [answer(b"{}", status=500)],
        stream_of(b"data: {nonsense\n\n"),
        [CUT],
    ],
)
async def test_where_nobody_can_go_on_the_first_failure_is_told(
    start_gateway: StartGateway, follower: Script
) -> None:
    async with workers(DYING, follower, count=2) as house:
        gateway = start_gateway(snapshot(*house.ports))
        content = await post(gateway)
        assert texts(content) == "Hello wör"
        told = json.loads(content.strip().rpartition(b"\n\n")[2][6:])["error"]
        assert (told["code"], "closed early" in told["message"]) == ("upstream_failed", True)
        assert sse.DONE not in content


@pytest.mark.feature("A12")
async def test_a_worker_that_falls_silent_is_followed_too(start_gateway: StartGateway) -> None:
    silent: Script = [stream_head(), *(chunk(part) for part in FIRST), None]
    async with workers(silent, GOOD) as house:
        gateway = start_gateway(snapshot(*house.ports), gateway_idle_seconds_max=1)
        content = await post(gateway)
        assert (texts(content), content.endswith(sse.DONE)) == ("Hello wörld", True)


@pytest.mark.feature("A12")
async def test_after_the_total_time_nobody_goes_on(start_gateway: StartGateway) -> None:
    silent: Script = [stream_head(), *(chunk(part) for part in FIRST), None]
    async with workers(silent, GOOD) as house:
        gateway = start_gateway(snapshot(*house.ports), gateway_total_seconds_max=1)
        content = await post(gateway)
        assert (b"upstream_timeout" in content, len(house.asked)) == (True, 1)


@pytest.mark.feature("A12")
async def test_a_worker_that_lost_only_the_last_word_has_no_follower(
    start_gateway: StartGateway,
) -> None:
    async with workers(stream_of(*FIRST, sse.STOP, end=CUT), GOOD) as house:
        gateway = start_gateway(snapshot(*house.ports))
        content = await post(gateway)
        assert (texts(content), content.endswith(sse.DONE)) == ("Hello wör", True)
        assert (len(house.asked), [one.end for one in gateway.segments()]) == (1, [SegmentEnd.DONE])


@pytest.mark.feature("A12")
@pytest.mark.feature("A11")
async def test_a_client_that_leaves_while_it_goes_on_stops_the_second_worker(
    start_gateway: StartGateway,
) -> None:
    held: Script = [stream_head(), chunk(REST[0]), chunk(REST[1]), None]
    async with workers(DYING, held) as house:
        gateway = start_gateway(snapshot(*house.ports))
        client = gateway.async_client()
        chunks = await client.chat.completions.create(**ASK, messages=[])
        seen = ""
        async for part in chunks:
            seen += part.choices[0].delta.content or ""
            if seen == "Hello wörld":
                break
        await chunks.close()
        ended = [SegmentEnd.ABORTED]
        assert await until(lambda: [one.end for one in gateway.segments()][1:] == ended)


@pytest.mark.feature("A12")
async def test_tokens_of_both_count_for_the_limit_as_the_client_saw_them(
    start_gateway: StartGateway,
) -> None:
    async with workers(DYING, GOOD, [answer(b"{}", status=400)]) as house:
        tables = snapshot(*house.ports)
        tables.keys[0].tokens_per_minute = 1000
        gateway = start_gateway(tables)
        await post(gateway)
        last = await asyncio.to_thread(gateway.post, {"model": "m"})
        left = last.headers["x-ratelimit-remaining-tokens"]
        assert 1000 - 11 - 300 < int(left) <= 1000 - 11


@pytest.fixture(scope="module")
def three() -> Iterator[list[StandIn]]:
    """Stand-ins that make a token each 5 ms."""
    pace = "--tokens-per-second", "200", "--first-token-ms", "0"
    made = [start_stand_in(*pace) for _ in range(3)]
    yield made
    for worker in made:
        worker.process.kill()
        worker.process.wait()
        if worker.process.stdout is not None:
            worker.process.stdout.close()


def whole(gateway: Gateway) -> tuple[str, Any, str | None]:
    """What the official client has of a chat: text, usage, and why it ended."""
    said, usage, end = "", None, None
    messages: list[Any] = [{"role": "user", "content": "Tell me of the sea."}]
    for part in gateway.client().chat.completions.create(**ASK, messages=messages):
        usage = part.usage or usage
        for choice in part.choices:
            said, end = said + (choice.delta.content or ""), choice.finish_reason or end
    return said, usage, end


@pytest.mark.feature("A12")
@pytest.mark.parametrize(("after_bytes", "how"), [(900, "reset"), (1700, "close"), (2600, "end")])
def test_through_two_deaths_the_official_client_has_the_answer_of_one(
    start_gateway: StartGateway, three: list[StandIn], after_bytes: int, how: str
) -> None:
    gateway = start_gateway(
        snapshot(*(int(one.url.rsplit(":", 1)[1]) for one in three), upstream_model=MODEL)
    )
    undisturbed = whole(gateway)
    chosen = gateway.segments()[0].replica_id
    assert chosen
    for worker in three[:2]:
        worker.fail(fault="cut", after_bytes=after_bytes, how=how)
    for _ in range(3):  # whichever is asked first: until both faults are spent
        assert whole(gateway) == undisturbed
        if not any(worker.state()["faults"] for worker in three):
            break
    assert gateway.metric("ganglion_gateway_continued_total") >= 1


@pytest.mark.feature("A12")
@pytest.mark.feature("A2")
def test_completions_go_on_as_well(start_gateway: StartGateway, three: list[StandIn]) -> None:
    ports = [int(one.url.rsplit(":", 1)[1]) for one in three]
    gateway = start_gateway(snapshot(*ports, upstream_model=MODEL))

    def said() -> str:
        parts = gateway.client().completions.create(**ASK, prompt="Tell me of the sea.")
        return "".join(choice.text for part in parts for choice in part.choices)

    undisturbed = said()
    for worker in three[:2]:
        worker.fail(fault="cut", after_bytes=1200)
    assert [said() for _ in range(2)] == [undisturbed] * 2
    assert gateway.metric("ganglion_gateway_continued_total") >= 1
