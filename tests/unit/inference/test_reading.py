"""Connections are read past the event loop: whole, in order, new ones first, their ends told."""

from __future__ import annotations

import asyncio
import fcntl
import gc
import socket
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from inference.reading import MORE_BYTES, READ_BYTES, Reading, give_back, stop
from tests.support.wait import until

pytestmark = pytest.mark.feature("A10")
both = pytest.mark.parametrize("of_worker", [False, True], ids=["client", "worker"])
HIGH = 200  # no number that a connection gets


@dataclass(eq=False)
class Heard(asyncio.Protocol):
    """One end; ``far`` is the other."""

    reading: Reading
    far: socket.socket
    of_worker: bool
    order: list[str] = field(default_factory=list)
    name: str = ""
    received: bytes = b""
    reads: int = 0
    fails: bool = False
    hasty: bool = False
    pauses: Heard | None = None
    ended: bool = False
    lost: bool = False
    transport: asyncio.Transport = field(init=False)
    given: asyncio.Transport = field(init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.given = cast("asyncio.Transport", transport)  # uvloop's is one by its methods alone
        take = self.reading.worker if self.of_worker else self.reading.client
        self.transport = take(self, self.given)
        if self.hasty:
            give_back(self.transport)

    def data_received(self, received: bytes) -> None:
        if self.fails:
            raise ValueError("it cannot be taken")
        if self.pauses is not None:
            self.pauses.transport.pause_reading()
        self.received += received
        self.reads += 1
        self.order.append(self.name)

    def eof_received(self) -> bool:
        self.ended = True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        stop(self.transport)
        self.lost = True


@pytest.fixture
def reading() -> Reading:
    return Reading()


@asynccontextmanager
async def standing(reading: Reading, of_worker: bool, **more: Any) -> AsyncIterator[Heard]:
    with socket.create_server(("127.0.0.1", 0)) as low:
        door = socket.socket(fileno=fcntl.fcntl(low, fcntl.F_DUPFD, HIGH))
    far = socket.create_connection(door.getsockname())
    near, _ = door.accept()
    door.close()
    heard = Heard(reading, far, of_worker, **more)
    await asyncio.get_running_loop().create_connection(lambda: heard, sock=near)
    try:
        yield heard
    finally:
        heard.transport.abort()
        far.close()
        await until(lambda: heard.lost)


@both
async def test_what_comes_is_heard_in_order_and_answered(reading: Reading, of_worker: bool) -> None:
    async with standing(reading, of_worker) as heard:
        for number in range(5):
            heard.far.send(b"%d" % number)
            await until(lambda n=number: len(heard.received) == n + 1)  # type: ignore[misc]
        assert heard.received == b"01234"
        heard.transport.write(b"well")
        assert await asyncio.to_thread(heard.far.recv, 10) == b"well"


@both
async def test_much_is_heard_whole_and_in_large_pieces(reading: Reading, of_worker: bool) -> None:
    content = bytes(range(256)) * 16_384
    async with standing(reading, of_worker) as heard:
        await asyncio.to_thread(heard.far.sendall, content)
        await until(lambda: len(heard.received) == len(content))
        assert heard.received == content
        assert heard.reads < len(content) // READ_BYTES
        assert MORE_BYTES > READ_BYTES


@both
async def test_a_piece_as_long_as_a_read_is_no_end(reading: Reading, of_worker: bool) -> None:
    async with standing(reading, of_worker) as heard:
        heard.far.sendall(b"a" * READ_BYTES)
        await until(lambda: len(heard.received) == READ_BYTES)
        heard.far.sendall(b"b")
        await until(lambda: heard.received.endswith(b"ab"))
        assert not heard.ended


@both
async def test_who_pauses_hears_nothing_until_it_goes_on(reading: Reading, of_worker: bool) -> None:
    async with (
        standing(reading, of_worker) as heard,
        standing(reading, of_worker) as other,
    ):
        heard.transport.pause_reading()
        assert not heard.transport.is_reading()
        for _ in range(3):
            heard.far.send(b"a")
            other.far.send(b"a")
            await until(lambda: other.received)
        assert heard.received == b""
        heard.transport.resume_reading()
        heard.transport.resume_reading()
        await until(lambda: heard.received == b"aaa")


async def test_what_was_read_before_a_pause_is_not_lost(reading: Reading) -> None:
    """One connection's bytes make another pause, which came in the same burst."""
    async with standing(reading, True) as first, standing(reading, True) as other:
        for one, its in ((first, other), (other, first)):
            one.pauses = its
        first.far.send(b"a")
        other.far.send(b"b")
        await until(lambda: first.received and other.received)
        assert (first.received, other.received) == (b"a", b"b")
        assert [one.transport.is_reading() for one in (first, other)] == [False, False]


def _ends(far: socket.socket) -> None:
    far.shutdown(socket.SHUT_WR)


def _breaks(far: socket.socket) -> None:
    far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    far.close()


@both
@pytest.mark.parametrize(("leave", "ends"), [(_ends, True), (_breaks, False)])
async def test_an_end_is_told_and_a_reset_is_none(
    reading: Reading, of_worker: bool, leave: Callable[[socket.socket], None], ends: bool
) -> None:
    """What lasts until the connection closes is not whole where the connection broke."""
    async with standing(reading, of_worker) as heard:
        heard.far.send(b"a")
        await until(lambda: heard.received == b"a")
        leave(heard.far)
        await until(lambda: heard.lost)
        assert heard.ended is ends


@both
async def test_who_fails_loses_its_connection_and_no_other(
    reading: Reading, of_worker: bool
) -> None:
    said: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: said.append(context))
    async with (
        standing(reading, of_worker, fails=True) as heard,
        standing(reading, of_worker) as other,
    ):
        heard.far.send(b"a")
        other.far.send(b"a")
        await until(lambda: heard.lost and other.received)
        assert [str(one["exception"]) for one in said] == ["it cannot be taken"]
        assert not other.lost


@both
async def test_a_number_that_another_has_now_reads_that_one(
    reading: Reading, of_worker: bool
) -> None:
    gc.collect()  # it would close what other tests left, and that number be the next one
    async with standing(reading, of_worker) as first:
        number = first.given.get_extra_info("socket").fileno()
        first.transport.abort()
        await until(lambda: first.lost)
        first.far.close()
        async with AsyncExitStack() as stack:
            others = [await stack.enter_async_context(standing(reading, of_worker)) for _ in "123"]
            numbers = [one.given.get_extra_info("socket").fileno() for one in others]
            assert number in numbers
            for one in others:
                one.far.send(b"a")
            await until(lambda: all(one.received == b"a" for one in others))
        assert first.received == b""


@both
async def test_the_event_loop_reads_on_what_is_given_back(
    reading: Reading, of_worker: bool
) -> None:
    async with standing(reading, of_worker) as heard:
        heard.far.send(b"a")
        await until(lambda: heard.received)
        assert give_back(heard.transport) is heard.given
        heard.far.send(b"b")
        await until(lambda: heard.received == b"ab")
        assert heard.given.is_reading()
        assert not heard.transport.is_reading()


@both
async def test_what_is_given_back_at_once_is_not_taken_again(
    reading: Reading, of_worker: bool
) -> None:
    """A WebSocket is asked for in what came with the connection."""
    async with standing(reading, of_worker, hasty=True) as heard:
        heard.far.send(b"a")
        await until(lambda: heard.received)
        assert heard.received == b"a"
        assert heard.given.is_reading()


async def test_what_is_new_goes_before_what_runs(reading: Reading) -> None:
    """A client's request and a worker's first words, behind the burst of a hundred streams."""
    order: list[str] = []
    async with AsyncExitStack() as stack:

        async def one(name: str, of_worker: bool = True) -> Heard:
            return await stack.enter_async_context(
                standing(reading, of_worker, name=name, order=order)
            )

        running = [await one("running") for _ in range(100)]
        first, client = await one("first"), await one("client", of_worker=False)
        await asyncio.sleep(0)
        reading.expect(first.transport)
        for heard in (*running, first, client):
            heard.far.send(b"a")
        await until(lambda: len(order) == 102)
        assert max(order.index("first"), order.index("client")) < 40
        order.clear()
        for heard in (*running, first):  # it is one of those that run now
            heard.far.send(b"a")
        await until(lambda: len(order) == 101)
        assert order.index("first") > 60
