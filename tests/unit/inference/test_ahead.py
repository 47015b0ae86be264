"""What is new is read before its turn, once, and only where the event loop would have read it."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from inference.ahead import Ahead
from tests.support.wait import until


@dataclass(eq=False)
class Heard(asyncio.Protocol):
    """One end; ``far`` is the other."""

    far: socket.socket
    received: bytes = b""
    lost: bool = False
    transport: asyncio.Transport = field(init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, received: bytes) -> None:
        self.received += received

    def connection_lost(self, error: Exception | None) -> None:
        self.lost = True


@asynccontextmanager
async def standing() -> AsyncIterator[Heard]:
    near, far = socket.socketpair()
    heard = Heard(far)
    await asyncio.get_running_loop().create_connection(lambda: heard, sock=near)
    try:
        yield heard
    finally:
        heard.transport.abort()
        far.close()


async def test_what_comes_is_read_at_a_look_and_not_again() -> None:
    ahead = Ahead()
    async with standing() as heard:
        ahead.watch(heard, heard.transport)
        for number in range(1, 4):
            heard.far.send(b"a")
            ahead.look()
            assert heard.received == b"a" * number
        heard.far.send(b"b")
        await until(lambda: heard.received.endswith(b"b"))
        assert heard.received == b"aaab"


async def test_only_what_comes_next_is_expected() -> None:
    ahead = Ahead()
    async with standing() as heard:
        ahead.expect(heard, heard.transport)
        for _ in range(2):
            heard.far.send(b"a")
            ahead.look()
        assert heard.received == b"a"
        await until(lambda: heard.received == b"aa")


async def test_who_is_not_read_now_is_not_read_ahead() -> None:
    ahead = Ahead()
    async with standing() as heard:
        ahead.watch(heard, heard.transport)
        heard.transport.pause_reading()
        heard.far.send(b"a")
        ahead.look()
        assert heard.received == b""
        heard.transport.resume_reading()
        await until(lambda: heard.received == b"a")


@pytest.mark.parametrize("leave", [socket.socket.close, lambda far: far.shutdown(socket.SHUT_WR)])
async def test_an_end_is_left_to_the_event_loop(leave: Callable[[socket.socket], None]) -> None:
    ahead = Ahead()
    async with standing() as heard:
        ahead.watch(heard, heard.transport)
        leave(heard.far)
        ahead.look()
        await until(lambda: heard.lost)
        assert heard.received == b""


async def test_a_number_that_another_has_now_reads_that_one() -> None:
    ahead = Ahead()
    async with standing() as first:
        number = ahead.watch(first, first.transport)
        first.transport.abort()
        await until(lambda: first.lost)
        ahead.forget(number)
        async with standing() as second:
            ahead.watch(second, second.transport)
            second.far.send(b"a")
            ahead.look()
            assert (first.received, second.received) == (b"", b"a")


async def test_what_is_given_to_another_reader_is_left_alone() -> None:
    ahead = Ahead()
    async with standing() as heard:
        number = ahead.watch(heard, heard.transport)
        ahead.forget(number)  # as where a WebSocket takes the connection over: it stays open
        heard.far.send(b"a")
        ahead.look()
        assert heard.received == b""
        await until(lambda: heard.received == b"a")
