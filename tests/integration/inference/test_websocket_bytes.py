"""WebSockets byte by byte: what follows the opening at once, what stands before it, and noise."""

from __future__ import annotations

import json
import random
import struct
from contextlib import suppress

import httpx
import pytest

from tests.support.gateway import KEY, Gateway, StartGateway
from tests.support.raw_http import RawConnection, connect
from tests.support.realtime import three
from tests.support.wait import until

pytestmark = pytest.mark.feature("A8")
SEEDS = range(40)
OPENING = (
    f"GET /v1/realtime HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n"
    "connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
    "sec-websocket-key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
).encode()
MODELS = f"GET /v1/models HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {KEY}\r\n\r\n".encode()


def frame(content: bytes, *, opcode: int = 1, fin: bool = True) -> bytes:
    """As a client sends it: masked, with a mask of zeros."""
    assert len(content) < 1 << 16
    return struct.pack(">BBH", opcode | fin << 7, 128 | 126, len(content)) + bytes(4) + content


async def event(raw: RawConnection) -> dict[str, object]:
    """The next event of the gateway."""
    _, short = await raw.reader.readexactly(2)
    size = struct.unpack(">H", await raw.reader.readexactly(2))[0] if short == 126 else short
    found: dict[str, object] = json.loads(await raw.reader.readexactly(size))
    return found


async def test_events_may_come_with_the_opening(start_gateway: StartGateway) -> None:
    gateway = start_gateway(three(1, 1, 1))
    async with connect(gateway.port) as raw:
        await raw.send(OPENING + frame(b'{"type": "nothing"}'))
        assert (await raw.head())[0] == 101
        assert [(await event(raw))["type"] for _ in range(2)] == ["session.created", "error"]


async def test_a_message_in_pieces_is_one(start_gateway: StartGateway) -> None:
    gateway = start_gateway(three(1, 1, 1))
    async with connect(gateway.port) as raw:
        pieces = frame(b'{"type": ', fin=False) + frame(b"", opcode=9) + frame(b'"x"}', opcode=0)
        for at in range(len(OPENING)):
            raw.writer.write(OPENING[at : at + 1])
        await raw.send(pieces)
        assert (await raw.head())[0] == 101
        assert (await event(raw))["type"] == "session.created"
        assert (await raw.reader.readexactly(2))[0] == 0x8A  # the answer to the ping between them
        assert "'x'" in str((await event(raw))["error"])


async def test_an_opening_after_a_request_on_the_same_connection(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway(three(1, 1, 1))
    async with connect(gateway.port) as raw:
        await raw.send(MODELS)
        assert (await raw.answer()).status == 200
        await raw.send(OPENING)
        assert (await raw.head())[0] == 101


async def test_an_opening_behind_a_request_that_runs_is_not_taken(
    start_gateway: StartGateway,
) -> None:
    gateway = start_gateway(three(1, 1, 1))
    async with connect(gateway.port) as raw:
        await raw.send(MODELS + OPENING)
        assert (await raw.answer()).status == 200
        assert b"101" not in await raw.rest()


async def noise(gateway: Gateway, seed: int) -> None:
    """Frames with faults of every kind, until the gateway has had enough."""
    chance = random.Random(seed)
    async with connect(gateway.port) as raw:
        await raw.send(OPENING)
        await raw.head()
        sent = b""
        for _ in range(20):
            content = chance.randbytes(chance.randint(0, 200))
            kind = chance.choice((0, 1, 2, 8, 9, 10, 3, 15))
            made = frame(content, opcode=kind, fin=chance.random() < 0.7)
            if chance.random() < 0.3:
                made = chance.randbytes(len(made))
            sent += made
        with suppress(OSError):  # it may be closed at each of these steps
            await raw.send(sent)
            raw.writer.write_eof()
            await raw.rest()


async def test_noise_ends_its_own_connection_alone(start_gateway: StartGateway) -> None:
    gateway = start_gateway(three(1, 1, 1))
    for seed in SEEDS:
        await noise(gateway, seed)
    await until(lambda: gateway.metric("ganglion_gateway_connections") == 1)
    assert httpx.get(f"{gateway.url}/health/ready").status_code == 200
    assert "Traceback" not in gateway.log.read_text()
