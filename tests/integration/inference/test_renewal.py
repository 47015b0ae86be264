"""SIGHUP renews a gateway of several processes: what began before it, and ends after it, ends well,
and who comes meanwhile is served by the new ones."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import httpx
import pytest

from inference.realtime.form import form
from kernel.wire.gateway import SegmentEnd
from tests.support.brain_double import BrainDouble, brain_double
from tests.support.crew import alive, boots, members, renewed, serving
from tests.support.gateway import KEY, Gateway, StartGateway, snapshot
from tests.support.held_worker import AT_ONCE, PLAIN, TEXT, HeldWorker, held_worker
from tests.support.raw_http import RawConnection, connect, request
from tests.support.realtime import silence, tone
from tests.support.realtime_talk import close_code, events_until, plain
from tests.support.wait import until
from tests.unit.inference import sse

STREAMED = json.dumps({"model": "m", "stream": True, "messages": []}).encode()
HELD = json.dumps({"model": "m", "messages": []}).encode()
QUICK = json.dumps({"model": "m", "user": AT_ONCE.decode()}).encode()
FORM = form({"model": "m"}, bytes(600_000), "boundary")
UPLOAD = request(
    FORM,
    "content-type: multipart/form-data; boundary=boundary",
    key=KEY,
    path="/v1/audio/transcriptions",
)
HEARS = "/v1/audio/transcriptions/stream?model=m"
EACH = 4  # of a kind: so that each of two processes is likely to have one


class Asked:
    """What is under way at a gateway; each in a connection of its own."""

    def __init__(self, gateway: Gateway, worker: HeldWorker, stack: AsyncExitStack) -> None:
        self.gateway = gateway
        self.worker = worker
        self._stack = stack

    async def raw(self, content: bytes) -> RawConnection:
        made = await self._stack.enter_async_context(connect(self.gateway.port))
        await made.send(content)
        return made

    async def streams(self) -> list[RawConnection]:
        """Each has said its first word."""
        begun = [await self.raw(request(STREAMED, key=KEY)) for _ in range(EACH)]
        for one in begun:
            assert (await one.head())[0] == 200
        return begun

    async def keyed(self, number: int) -> RawConnection:
        return await self.raw(request(HELD, f"idempotency-key: order-{number}", key=KEY))

    async def uploads(self) -> list[RawConnection]:
        """Half of each is sent, and a worker has that half."""
        before = len(self.worker.begun)
        begun = [await self.raw(UPLOAD[: len(UPLOAD) // 2]) for _ in range(EACH)]
        await until(lambda: len(self.worker.begun) == before + EACH)
        return begun


@pytest.fixture
async def asked(start_gateway: StartGateway) -> AsyncIterator[tuple[Asked, BrainDouble]]:
    async with AsyncExitStack() as stack:
        worker = await stack.enter_async_context(held_worker())
        brain = await stack.enter_async_context(brain_double(snapshot(worker.port)))
        patient = {"gateway_drain_seconds": 300}  # the old ones wait for what the new ones begin
        gateway = start_gateway(gateway_processes=2, **brain.settings(), **patient)
        await serving(gateway)
        yield Asked(gateway, worker, stack), brain


@pytest.mark.feature("A11")
async def test_what_outlasts_a_renewal_ends_well(asked: tuple[Asked, BrainDouble]) -> None:
    at, brain = asked
    old, old_boots = members(at.gateway), boots(at.gateway)
    streams, uploads = await at.streams(), await at.uploads()
    first = [await at.keyed(number) for number in range(EACH)]
    idle = [await at.raw(request(QUICK, key=KEY)) for _ in range(EACH)]
    assert [(await one.answer()).status for one in idle] == [200] * EACH
    async with plain(at.gateway, HEARS) as speaker:
        await speaker.send(silence(400) + tone(600))
        await events_until(speaker, "input_audio_buffer.speech_started")
        await renewed(at.gateway)
        assert [await one.rest() for one in idle] == [b""] * EACH  # all old ones close what is idle
        assert alive(*old) == old
        new = await asyncio.gather(*(ask(at.gateway, QUICK) for _ in range(2 * EACH)))
        again = [await at.keyed(number) for number in range(EACH)]
        for one in uploads:
            await one.send(UPLOAD[len(UPLOAD) // 2 :])
        assert [(await one.answer()).body for one in uploads] == [TEXT] * EACH
        await speaker.send(tone(300) + silence(800))
        at.worker.on.set()
        heard, _ = await events_until(speaker, "transcript.text.done", 30)
        assert heard[-1]["end_ms"] > 1200
        assert await close_code(speaker) == 1001
    assert [(await one.rest())[-30:].count(sse.DONE) for one in streams] == [1] * EACH
    answers = [await one.answer() for one in (*first, *again)]
    assert [one.body for one in answers] == [PLAIN] * 2 * EACH
    assert ["x-idempotent-replayed" in one.headers for one in answers].count(True) == EACH
    await until(lambda: not alive(*old), 20)
    assert await asyncio.to_thread(at.gateway.stop) == 0
    pieces = [one for one in brain.segments.values() if one.end is not SegmentEnd.OPEN]
    assert [one.end for one in pieces] == [SegmentEnd.DONE] * (6 * EACH + 1)
    assert {one.boot_id for one in pieces if one.request_id in new}.isdisjoint(old_boots)


async def ask(gateway: Gateway, content: bytes) -> str:
    """A new client's question. Its request's id."""
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(headers=headers, timeout=30) as client:
        told = await client.post(f"{gateway.url}/v1/chat/completions", content=content)
    assert told.status_code == 200
    return told.headers["x-request-id"]


async def test_a_stop_in_the_middle_of_it_ends_the_new_ones_and_lets_the_old_finish(
    asked: tuple[Asked, BrainDouble],
) -> None:
    at, _ = asked
    old = members(at.gateway)
    streams = await at.streams()
    at.gateway.process.send_signal(signal.SIGHUP)
    (new,) = await until(lambda: [*{*members(at.gateway)} - {*old}], 30)
    at.gateway.process.terminate()
    await until(lambda: not alive(new), 20)
    assert alive(*old)
    at.worker.on.set()
    assert [(await one.rest())[-30:].count(sse.DONE) for one in streams] == [1] * EACH
    assert await asyncio.to_thread(at.gateway.stop) == 0
    assert alive(*old) == []
