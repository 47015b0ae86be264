"""What is written later is written once, in order, and to nobody who is gone."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from inference.gateway import Gateway
from inference.later import Later, LateWriter
from inference.outlet import Outlet
from inference.settings import Settings
from kernel.clock import ManualClock
from kernel.ids import BootId, SystemIds

Ends = tuple[asyncio.Transport, socket.socket]


async def _ends() -> Ends:
    near, far = socket.socketpair()
    far.setblocking(False)
    transport, _ = await asyncio.get_running_loop().create_connection(asyncio.Protocol, sock=near)
    return transport, far


@pytest.fixture
async def ends() -> AsyncIterator[tuple[Ends, Ends]]:
    made = await _ends(), await _ends()
    yield made
    for transport, far in made:
        transport.abort()
        far.close()


def waiting(far: socket.socket) -> bytes:
    try:
        return far.recv(1000)
    except BlockingIOError:
        return b""


async def test_chunks_are_written_in_the_next_turn_and_in_order(ends: tuple[Ends, Ends]) -> None:
    later = Later()
    writers = [LateWriter(later, transport) for transport, _ in ends]
    for chunk in (b"1", b"2", b"3"):
        for writer in writers:
            writer.write(chunk)
    assert [waiting(far) for _, far in ends] == [b"", b""]
    await asyncio.sleep(0)
    assert [waiting(far) for _, far in ends] == [b"123", b"123"]


async def test_what_was_written_early_is_not_written_again(ends: tuple[Ends, Ends]) -> None:
    later = Later()
    (transport, far), _ = ends
    LateWriter(later, transport).write(b"1")
    later.flush()
    LateWriter(later, transport).write(b"2")
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert waiting(far) == b"12"


async def test_who_is_gone_keeps_nobody_else_from_theirs(ends: tuple[Ends, Ends]) -> None:
    later = Later()
    for transport, _ in ends:
        LateWriter(later, transport).write(b"1")
    ends[0][0].abort()
    await asyncio.sleep(0)
    assert waiting(ends[1][1]) == b"1"


class Ended(Outlet):
    """A connection that has begun a stream in chunks."""

    def __init__(self, gateway: Gateway, transport: asyncio.Transport) -> None:
        self._gateway, self._transport = gateway, transport
        self._chunked_out, self._current = True, None

    def _ended(self, keeps: bool) -> None: ...


@pytest.mark.parametrize("say", [Outlet.last, Outlet.piece])
async def test_nothing_of_a_stream_overtakes_its_chunks(
    ends: tuple[Ends, Ends], tmp_path: Path, say: Callable[[Outlet, bytes], None]
) -> None:
    clock = ManualClock()
    ids = SystemIds(clock)
    settings = Settings(gateway_spool_dir=tmp_path)
    (transport, far), _ = ends
    outlet = Ended(Gateway(settings, clock, ids, ids.new(BootId), alone=True), transport)
    write = outlet.chunks()
    assert write is not None
    write(b"2\r\nhi\r\n")
    say(outlet, b"end")
    await asyncio.sleep(0)
    assert waiting(far).startswith(b"2\r\nhi\r\n3\r\nend\r\n")
