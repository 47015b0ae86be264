"""One bounded HTTP client: every failure has its class, and nothing that was sent gets out."""

from __future__ import annotations

import asyncio
import gzip
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import httpx
import pytest

from brain.adapters.clouds.buckets import Bucket
from brain.adapters.clouds.http import CloudHttp, HttpLimits, code_of, retry_after
from brain.clouds import (
    Broke,
    CloudError,
    CloudRefused,
    CredentialsRefused,
    OutcomeUnknown,
    Throttled,
    Unreadable,
)
from kernel.clock import ManualClock

KEY = "rpa_VERYSECRETKEY123"
T = TypeVar("T")
Answering = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


class Scripted(httpx.AsyncBaseTransport):
    """Answers each request with the next thing of its script; the last one stays."""

    def __init__(self, *script: Any) -> None:
        self.script = list(script)
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, Exception):
            raise step
        if step is None:
            await asyncio.Event().wait()
        assert isinstance(step, tuple)
        status, body, *headers = step
        return httpx.Response(
            status, headers=headers[0] if headers else {}, stream=httpx.ByteStream(body)
        )


def client(clock: ManualClock, transport: httpx.AsyncBaseTransport, **limits: Any) -> CloudHttp:
    return CloudHttp(
        cloud="Cloudy",
        base_url="https://cloud.example/api",
        key=KEY,
        clock=clock,
        chance=random.Random(1),
        limits=HttpLimits(**limits),
        transport=transport,
    )


async def passing(clock: ManualClock, work: Awaitable[T]) -> T:
    """What ``work`` gives while time runs on."""
    doing = asyncio.ensure_future(work)
    while not doing.done():
        for _ in range(20):
            await asyncio.sleep(0)
        clock.advance(0.1)
    return await doing


async def failure(clock: ManualClock, *script: Any, repeatable: bool = False) -> CloudError:
    http = client(clock, Scripted(*script))
    with pytest.raises(CloudError) as caught:
        await passing(clock, http.call("GET", "/x", repeatable=repeatable))
    return caught.value


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (302, Unreadable),
        (400, CloudRefused),
        (401, CredentialsRefused),
        (402, Broke),
        (403, CredentialsRefused),
        (404, Unreadable),
        (408, OutcomeUnknown),
        (422, CloudRefused),
        (429, Throttled),
        (500, OutcomeUnknown),
        (503, OutcomeUnknown),
    ],
)
async def test_a_status_has_its_class(
    clock: ManualClock, status: int, kind: type[CloudError]
) -> None:
    body = b'{"token": "' + KEY.encode() + b'"}'
    wrong = await failure(clock, (status, body, {"location": f"https://evil.example/?k={KEY}"}))
    assert type(wrong) is kind
    assert KEY not in repr(wrong) + wrong.detail + wrong.code


@pytest.mark.parametrize("status", [200, 401, 403, 404])
async def test_a_web_page_is_never_the_apis_word(clock: ManualClock, status: int) -> None:
    http = client(clock, Scripted((status, b"<html>", {"content-type": "text/html"})))
    with pytest.raises(Unreadable):
        (await passing(clock, http.call("GET", "/x", repeatable=False))).json()


@pytest.mark.parametrize(
    "cut", [httpx.ReadError(KEY), httpx.ConnectTimeout(KEY), ConnectionResetError(KEY), None]
)
async def test_a_cut_or_silence_leaves_the_outcome_unknown(clock: ManualClock, cut: Any) -> None:
    wrong = await failure(clock, cut)
    assert type(wrong) is OutcomeUnknown
    assert KEY not in repr(wrong)


@pytest.mark.parametrize("packed", [False, True])
async def test_too_long_an_answer_is_not_read_to_its_end(clock: ManualClock, packed: bool) -> None:
    body = b'{"x": "' + b"x" * 20_000_000 + b'"}'
    headers = {"content-encoding": "gzip"} if packed else {}
    answer = (200, gzip.compress(body, 1) if packed else body, headers)
    assert type(await failure(clock, answer)) is Unreadable


async def test_a_packed_answer_is_unpacked(clock: ManualClock) -> None:
    packed = (200, gzip.compress(b'{"a": 1}'), {"content-encoding": "gzip"})
    answer = await client(clock, Scripted(packed)).call("GET", "/x", repeatable=False)
    assert answer.json() == {"a": 1}


@pytest.mark.parametrize("script", [(503, b""), (429, b""), httpx.ReadError("")])
async def test_only_what_may_be_repeated_is(clock: ManualClock, script: Any) -> None:
    once, thrice = Scripted(script), Scripted(script)
    for transport, repeatable in ((once, False), (thrice, True)):
        call = client(clock, transport).call("DELETE", "/x", repeatable=repeatable)
        with pytest.raises(CloudError):
            await passing(clock, call)
    assert (len(once.requests), len(thrice.requests)) == (1, 3)


async def test_a_repeat_waits_as_long_as_the_cloud_says(clock: ManualClock) -> None:
    transport = Scripted((429, b"", {"retry-after": "7"}), (200, b"{}"))
    began = clock.monotonic_ns()
    await passing(clock, client(clock, transport).call("GET", "/x", repeatable=True))
    assert 7.0 <= (clock.monotonic_ns() - began) / 1e9 < 9.0


async def test_a_budget_that_the_cloud_says_is_spent_is_kept_to(clock: ManualClock) -> None:
    headers = {"ratelimit": '"minute";r=0;t=7, "hour";r=2800;t=1812'}
    http = CloudHttp(
        cloud="Cloudy",
        base_url="https://cloud.example/",
        key=KEY,
        clock=clock,
        chance=random.Random(1),
        buckets=[Bucket(clock, calls=60, seconds=60, burst=20)],
        transport=Scripted((200, b"{}", headers), (200, b"{}")),
    )
    await http.call("GET", "/x", repeatable=False)
    began = clock.monotonic_ns()
    await passing(clock, http.call("GET", "/x", repeatable=False))
    assert 7.0 <= (clock.monotonic_ns() - began) / 1e9 < 8.0


async def test_a_long_wait_is_the_callers_to_decide(clock: ManualClock) -> None:
    wrong = await failure(clock, (429, b"", {"retry-after": "86400"}), repeatable=True)
    assert isinstance(wrong, Throttled)
    assert wrong.retry_after == 300


async def test_the_key_is_in_its_header_and_nowhere_else(clock: ManualClock) -> None:
    transport = Scripted((200, b"{}"))
    http = client(clock, transport)
    await http.call("POST", "/x", repeatable=False, json={"a": 1})
    request = transport.requests[0]
    assert request.headers.pop("authorization") == f"Bearer {KEY}"
    assert KEY not in f"{request.url} {request.headers} {request.content!r} {http!r}"


async def test_a_redirect_is_not_followed(clock: ManualClock) -> None:
    transport = Scripted((307, b"", {"location": "https://evil.example/"}))
    with pytest.raises(Unreadable):
        await client(clock, transport).call("GET", "/x", repeatable=False)
    assert len(transport.requests) == 1


def test_retry_after_is_read_in_both_forms(clock: ManualClock) -> None:
    now = clock.now()
    assert retry_after("12", now) == 12
    assert retry_after("Fri, 15 Jan 2027 08:01:00 GMT", now) == 60
    assert retry_after("Fri, 15 Jan 2021 08:01:00 GMT", now) == 0
    assert [retry_after(text, now) for text in ("", "soon", "-3", "1e9", "9" * 50)] == [None] * 5


def test_a_code_has_the_shape_of_a_code() -> None:
    assert code_of("global/invalid-api-key") == "global/invalid-api-key"
    assert [code_of(text) for text in (None, KEY, "x" * 101, "a\nb", "https://x")] == [""] * 5


class Endless(httpx.AsyncByteStream):
    """Two lines, and then silence."""

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield b"data: one\r\ndata: t"
        yield b"wo\ndata: thr"
        await asyncio.Event().wait()


async def test_a_stream_without_an_end_is_read_for_so_long(clock: ManualClock) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, stream=Endless()))
    http = client(clock, transport)

    async def read() -> list[str]:
        async with http.lines("/logs", seconds_max=3) as lines:
            return [line async for line in lines]

    assert await passing(clock, read()) == ["data: one", "data: two"]
    assert clock.monotonic_ns() < 5e9


async def test_a_stream_that_is_refused_has_its_class(clock: ManualClock) -> None:
    http = client(clock, Scripted((401, KEY.encode())))
    with pytest.raises(CredentialsRefused) as caught:
        async with http.lines("/logs", seconds_max=3):
            raise AssertionError("there is no stream")
    assert KEY not in repr(caught.value)
