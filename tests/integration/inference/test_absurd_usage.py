"""What a worker tells of tokens is believed where it can be: books and limits are made of it."""

from __future__ import annotations

import json

import httpx
import pytest
from msgspec.structs import replace

from inference.sse import TOKENS_MAX
from tests.support.gateway import KEY, StartGateway, key_row, snapshot
from tests.support.scripted_worker import Script, answer, chunk, scripted_worker, stream_head
from tests.unit.inference import sse

CHAT = {"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
ABSURD = [-5, 2**40 + 1, 2**63, 2**64, 4.0, "7"]
HEADERS = {"authorization": f"Bearer {KEY}"}
LEFT = "x-ratelimit-remaining-tokens"


def _plain(count: object) -> Script:
    told = {"prompt_tokens": count, "completion_tokens": count}
    choice = {"index": 0, "message": {"content": "Hello"}, "finish_reason": "stop"}
    return [answer(json.dumps({"choices": [choice], "usage": told}).encode())]


def _stream(count: object) -> Script:
    told = {"prompt_tokens": count, "completion_tokens": count}
    usage = sse.event({"id": "c", "choices": [], "usage": told})
    parts = [sse.ROLE, sse.HELLO, sse.WORLD, sse.STOP, usage, sse.DONE]
    return [stream_head(), *map(chunk, parts), chunk(b"")]


@pytest.mark.feature("A10")
@pytest.mark.feature("G1")
@pytest.mark.parametrize("streamed", [False, True], ids=["plain", "streamed"])
async def test_counts_that_cannot_be_are_not_told(
    start_gateway: StartGateway, streamed: bool
) -> None:
    make = _stream if streamed else _plain
    scripts = [make(count) for count in ABSURD]
    async with scripted_worker(lambda number: scripts[number]) as worker:
        limited = [key_row(tokens_per_minute=1000)]
        gateway = start_gateway(replace(snapshot(worker.port), keys=limited))
        left = []
        async with httpx.AsyncClient(timeout=5, headers=HEADERS) as client:
            for _ in ABSURD:
                url = f"{gateway.url}/v1/chat/completions"
                said = await client.post(url, json={**CHAT, "stream": streamed})
                assert said.status_code == 200
                assert said.content.endswith(sse.DONE) is streamed
                left.append(int(said.headers[LEFT]))
        assert left == sorted(left, reverse=True)  # nobody gains by it
        told = 4 if streamed else 0  # its chunks are what is known
        for piece in gateway.segments():
            assert (piece.prompt_tokens, piece.completion_tokens) == (0, told)
            assert piece.tokens_estimated
        assert gateway.process.poll() is None


@pytest.mark.feature("A10")
async def test_the_most_that_is_believed_is_booked(start_gateway: StartGateway) -> None:
    async with scripted_worker(lambda _: _plain(TOKENS_MAX)) as worker:
        gateway = start_gateway(snapshot(worker.port))
        async with httpx.AsyncClient(timeout=5, headers=HEADERS) as client:
            await client.post(f"{gateway.url}/v1/chat/completions", json=CHAT)
        [piece] = gateway.segments()
        assert (piece.prompt_tokens, piece.tokens_estimated) == (TOKENS_MAX, False)
