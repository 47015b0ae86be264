"""Uploads that go wrong: refused, cut, too slow, too large, and workers that fail in the middle."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from kernel.wire.gateway import SegmentEnd
from tests.integration.inference.test_uploads import MIB, PATH, form
from tests.support.gateway import KEY, Gateway, StartGateway, snapshot
from tests.support.raw_http import RawConnection, connect, request
from tests.support.scripted_worker import answer
from tests.support.wait import until

LAST = b"\r\nconnection: close\r\n\r\n"
HEARD = answer(b'{"text":"x"}').replace(b"\r\n\r\n", LAST, 1)
TOO_LARGE = answer(b'{"error":{"message":"too long a sound"}}', status=413)
FULL = answer(b"{}", status=503)
pytestmark = pytest.mark.feature("A4")


@dataclass
class Ear:
    """Reads ``hears`` bytes of a connection, says its word, then reads only if it ``goes_on``."""

    hears: int
    word: bytes = b""
    goes_on: bool = False
    port: int = 0
    got: list[int] = field(default_factory=list)
    end: asyncio.Event = field(default_factory=asyncio.Event)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.got)
        self.got.append(0)
        try:
            while self.got[number] < self.hears and (some := await reader.read(65536)):
                self.got[number] += len(some)
            writer.write(self.word)
            await writer.drain()
            while self.goes_on and (some := await reader.read(65536)):
                self.got[number] += len(some)
            if not self.goes_on and self.word:
                await self.end.wait()
        except ConnectionError:
            pass
        finally:
            writer.transport.abort()


@asynccontextmanager
async def ear(hears: int, word: bytes = b"", *, goes_on: bool = False) -> AsyncIterator[Ear]:
    """One at a free port."""
    one = Ear(hears, word, goes_on)
    server = await asyncio.start_server(one.serve, "127.0.0.1", 0, limit=65536)
    one.port = server.sockets[0].getsockname()[1]
    yield one
    one.end.set()
    server.close()


async def send(gateway: Gateway, body: bytes) -> httpx.Response:
    headers = {"authorization": f"Bearer {KEY}"}
    async with httpx.AsyncClient(timeout=20) as client:
        return await client.post(f"{gateway.url}{PATH}", content=body, headers=headers)


async def begin(raw: RawConnection, body: bytes, sent: int) -> None:
    whole = request(body, key=KEY, path=PATH)
    await raw.send(whole[: len(whole) - len(body) + sent])


def after(seconds: float) -> Callable[[], bool]:
    loop = asyncio.get_running_loop()
    end = loop.time() + seconds
    return lambda: loop.time() > end


@pytest.mark.parametrize(
    ("body", "status", "param"),
    [
        (b'{"model": "m"}', 415, None),
        (b"", 415, None),
        (form(b"x", model_first=True).replace(b'"model"', b'"mode"'), 400, "model"),
        (form(b"x", model_first=True)[:-3], 400, None),
        (b"--" + b"b" * 200 + b"\r\n", 400, None),
    ],
)
async def test_what_is_no_form_is_refused_in_openais_shape(
    start_gateway: StartGateway, body: bytes, status: int, param: str | None
) -> None:
    gateway = start_gateway(snapshot(1))
    refused = await send(gateway, body)
    assert refused.status_code == status
    assert refused.json()["error"]["type"] == "invalid_request_error"
    assert refused.json()["error"]["param"] == param
    assert gateway.segments() == []


@pytest.mark.parametrize("told", [True, False])
async def test_too_large_a_form_is_refused(start_gateway: StartGateway, told: bool) -> None:
    async with ear(1 << 40) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_upload_bytes_max=MIB)
        body = form(bytes(9 * MIB), model_first=True)
        head = request(b"", key=KEY, path=PATH).replace(b"content-length: 0", b"$")
        length = f"content-length: {len(body)}".encode()
        chunked = b"transfer-encoding: chunked"
        async with connect(gateway.port) as raw:
            await raw.send(head.replace(b"$", length if told else chunked))
            if not told:
                await raw.send(b"%x\r\n" % len(body) + body[: 2 * MIB])
            assert (await raw.answer()).status == 413
        await until(lambda: gateway.metric("ganglion_gateway_in_flight") == 0)


async def test_an_early_answer_is_passed_on_and_no_more_is_sent(
    start_gateway: StartGateway,
) -> None:
    async with ear(100_000, TOO_LARGE, goes_on=True) as worker:
        gateway = start_gateway(snapshot(worker.port))
        body = form(bytes(50 * MIB), model_first=True)
        async with connect(gateway.port) as raw:
            await begin(raw, body, MIB)
            refused = await raw.answer()
            assert (refused.status, refused.headers["connection"]) == (413, "close")
            assert b"too long a sound" in refused.body
            await raw.send(body[: 10 * MIB])  # it is heard out, and thrown away
        assert worker.got[0] < 3 * MIB
        assert gateway.segments()[-1].end is SegmentEnd.DONE


async def test_a_connection_that_was_not_sent_all_carries_nothing_else(
    start_gateway: StartGateway,
) -> None:
    async with ear(100_000, TOO_LARGE, goes_on=True) as worker:
        gateway = start_gateway(snapshot(worker.port))
        async with connect(gateway.port) as raw:
            await begin(raw, form(bytes(50 * MIB), model_first=True), MIB)
            assert (await raw.answer()).status == 413
        async with connect(gateway.port) as raw:
            await raw.send(request(b'{"model":"m"}', key=KEY))
            await until(lambda: len(worker.got) == 2)


async def test_what_is_at_hand_is_sent_to_another_worker(start_gateway: StartGateway) -> None:
    async with ear(100_000, FULL) as first, ear(200_000, HEARD, goes_on=True) as second:
        gateway = start_gateway(snapshot(first.port, second.port))
        body = form(bytes(210_000), model_first=True)
        tries = [await send(gateway, body), await send(gateway, body)]
        assert [one.status_code for one in tries] == [200, 200]
        assert first.got != []
        assert gateway.metric("ganglion_gateway_failover") >= 1


@pytest.mark.parametrize(("model_first", "status"), [(True, 503), (False, 200)])
async def test_a_large_file_is_sent_again_when_it_lies_on_disk(
    start_gateway: StartGateway, model_first: bool, status: int
) -> None:
    async with ear(3 * MIB, FULL) as first, ear(3 * MIB, HEARD, goes_on=True) as second:
        tables = snapshot(first.port, second.port)
        gateway = start_gateway(tables)
        found = [await send(gateway, form(bytes(4 * MIB), model_first=model_first)) for _ in "ab"]
        assert max(one.status_code for one in found) == status
        assert len(first.got) >= 1
        assert "busy" in found[0].text + found[1].text or status == 200


async def test_a_disk_with_no_room_says_to_send_the_model_first(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway(snapshot(1), gateway_upload_spill_bytes_max=MIB)
    refused = await send(gateway, form(bytes(4 * MIB), model_first=False))
    assert refused.status_code == 503
    assert "send the field model before the file" in refused.text
    assert gateway.segments() == []


@pytest.mark.parametrize("room", [0, 1 << 30], ids=["reset", "orderly"])
async def test_who_hangs_up_is_noticed_while_the_worker_does_not_read(
    start_gateway: StartGateway, room: int
) -> None:
    async with ear(1000, b"HTTP/1.1 100 Continue\r\n\r\n") as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_upload_spill_bytes_max=room)
        async with connect(gateway.port) as raw:
            sending = asyncio.create_task(
                begin(raw, form(bytes(50 * MIB), model_first=True), 50 * MIB)
            )
            await until(lambda: worker.got != [])
            await until(after(0.5))  # all buffers are full
            if not room:  # with nowhere to read on to, only a reset gets through
                door = raw.writer.transport.get_extra_info("socket")
                door.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sending.cancel()
        await until(lambda: gateway.metric("ganglion_gateway_in_flight") == 0)
        assert gateway.segments()[-1].status == 499


@pytest.mark.parametrize("model_first", [True, False])
async def test_who_sends_too_slowly_is_told(start_gateway: StartGateway, model_first: bool) -> None:
    async with ear(1 << 40) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_body_seconds_max=0.5)
        async with connect(gateway.port) as raw:
            await begin(raw, form(bytes(MIB), model_first=model_first), 1000)
            assert (await raw.answer()).status == 408
        await until(lambda: gateway.metric("ganglion_gateway_in_flight") == 0)


async def test_who_makes_way_may_take_longer_than_the_deadline(
    start_gateway: StartGateway,
) -> None:
    async with ear(1 << 40) as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_body_seconds_max=1.5)
        body = form(bytes(MIB), model_first=True)
        async with connect(gateway.port) as raw:
            await begin(raw, body, 0)
            for at in range(12):
                await raw.send(body[at * 70_000 : (at + 1) * 70_000])
                await until(after(0.2))
            assert gateway.metric("ganglion_gateway_in_flight") == 1
        assert worker.got[0] > 700_000


async def test_a_worker_that_reads_no_more_is_given_up(start_gateway: StartGateway) -> None:
    async with ear(MIB, b"HTTP/1.1 100 Continue\r\n\r\n") as worker:
        gateway = start_gateway(snapshot(worker.port), gateway_idle_seconds_max=1)
        late = await send(gateway, form(bytes(50 * MIB), model_first=True))
        assert late.status_code == 504
        assert gateway.segments()[-1].end is SegmentEnd.FAILED


async def test_a_worker_has_its_time_once_it_has_the_file(start_gateway: StartGateway) -> None:
    async with ear(2 * MIB, b"HTTP/1.1 100 Continue\r\n\r\n") as worker:
        limits = {"gateway_idle_seconds_max": 1, "gateway_first_byte_seconds_max": 3}
        gateway = start_gateway(snapshot(worker.port), **limits)
        began = time.monotonic()
        late = await send(gateway, form(bytes(2 * MIB - 100), model_first=True))
        assert late.status_code == 504
        assert time.monotonic() - began > 3


async def test_a_worker_that_dies_in_the_middle_is_a_clear_error(
    start_gateway: StartGateway,
) -> None:
    async with ear(2 * MIB) as worker:
        gateway = start_gateway(snapshot(worker.port))
        failed = await send(gateway, form(bytes(20 * MIB), model_first=True))
        assert failed.status_code == 502
        assert failed.json()["error"]["code"] == "upstream_failed"
        assert gateway.segments()[-1].end is SegmentEnd.FAILED
