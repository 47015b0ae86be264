"""The connections of clients and workers are read here, past the event loop, which writes them.

What is new goes before what runs. A worker that decodes for many steps all its streams at once, and
their chunks come in one burst; an event loop reads connections in the order in which they became
ready, so a request that comes in the middle would wait for the rest of the burst, and the first
words of its answer for the next.

And chunks are handled together: some are read, then judged, then written, so that each step finds
the caches as the same step left them (``What a streamed chunk costs`` in docs/performance.md).
"""

from __future__ import annotations

import asyncio
import os
import select
from typing import Any

from inference.client import Write
from inference.relay import CHUNK_BYTES_MAX, PLAIN, STARTS, Relay

READ_BYTES = CHUNK_BYTES_MAX  # more than most reads find
MORE_BYTES = 256 * 1024  # where that was filled
TOGETHER = 32  # connections to workers that are read before what came is judged
TURNS = 4  # before the event loop has its own
NEW_MAX = 64  # at one look
_read = os.read
_buffer = bytearray(MORE_BYTES)
_ONCE = select.EPOLLIN | select.EPOLLONESHOT


class Reading:
    """Of one process."""

    def __init__(self) -> None:
        self._running = select.epoll()  # connections to workers
        self._new = select.epoll()  # clients', and workers' whose first words are awaited
        self.here: dict[int, ReadHere] = {}  # whether they pause or not
        self.relays: dict[int, Relay] = {}  # of connections of which chunks are passed on
        self._loop: asyncio.AbstractEventLoop | None = None

    def client(self, reader: asyncio.Protocol, transport: asyncio.Transport) -> asyncio.Transport:
        """What ``reader`` is to use in place of the transport that it was given."""
        return self._adopt(reader, transport, self._new)

    def worker(self, reader: asyncio.Protocol, transport: asyncio.Transport) -> asyncio.Transport:
        """The same for a connection to a worker."""
        return self._adopt(reader, transport, self._running)

    def expect(self, transport: asyncio.Transport) -> None:
        """What comes over it next, from a worker, goes before what runs."""
        if isinstance(transport, ReadHere) and transport.reading:
            try:
                self._new.modify(transport.number, _ONCE)
            except FileNotFoundError:
                self._new.register(transport.number, _ONCE)

    def _look(self) -> None:
        """Clients and workers have something new."""
        here = self.here
        for number, _ in self._new.poll(0, NEW_MAX):
            if number in here and here[number].reading:
                here[number].read()

    def _burst(self) -> None:
        """Workers have something."""
        for _ in range(TURNS):
            ready = self._running.poll(0, TOGETHER)
            self._pass_on(ready)
            if len(ready) < TOGETHER:
                return
            self._look()

    def _pass_on(self, ready: list[tuple[int, int]]) -> None:
        """Each step for all: it runs for every chunk of every stream, and costs by its length and
        by what it looks at, which is far away by the next burst."""
        here, relays = self.here, self.relays
        came: list[tuple[int, bytes]] = []
        out: list[tuple[int, Write, bytes]] = []
        for number, _ in ready:
            try:
                received = _read(number, READ_BYTES)
            except BlockingIOError:
                continue
            except OSError:
                here[number].abort()
                continue
            came.append((number, received))
        for number, received in came:
            relay = relays.get(number)
            if relay is not None:  # ``Relay.like``, in place: a call costs 4 % of a chunk
                size, tail = len(received), relay.tail
                start = STARTS[size] + relay.head
                text = received.removeprefix(start).removesuffix(tail)
                if len(start) + len(text) + len(tail) == size and not text.translate(None, PLAIN):
                    relay.stream.chunks_since_usage += 1
                    out.append((number, relay.send, received))
                    continue
            if number in here:  # else it was closed meanwhile; paused, it hears what was read
                here[number].take(received)
        for number, send, received in out:
            try:
                send(received)
            except Exception as error:
                if number in here:
                    here[number].fail(error)  # the others have theirs

    def _adopt(
        self, reader: asyncio.Protocol, transport: asyncio.Transport, poll: select.epoll
    ) -> asyncio.Transport:
        number = _descriptor(transport)
        if number < 0:
            return transport
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
            loop.add_reader(self._running.fileno(), self._burst)
            loop.add_reader(self._new.fileno(), self._look)
        here = ReadHere(reader, transport, number, poll, self)
        loop.call_soon(here.begin)  # the event loop starts to read after ``connection_made``
        return here


class ReadHere(asyncio.Transport):
    """One connection. What it does not do itself the event loop's transport does."""

    __slots__ = (
        "_attended",
        "_given_back",
        "_poll",
        "_reading",
        "_transport",
        "number",
        "reader",
        "reading",
        "write",
    )

    def __init__(
        self,
        reader: asyncio.Protocol,
        transport: asyncio.Transport,
        number: int,
        poll: select.epoll,
        reading: Reading,
    ) -> None:
        self.number = number
        self.reading = True
        self._given_back = False
        self.write = transport.write  # type: ignore[method-assign]  # nothing between
        self._transport = transport
        self.reader = reader
        self._poll = poll
        self._reading = reading
        self._attended = False  # what comes is told

    def begin(self) -> None:
        """From here on bytes come this way."""
        if self._given_back or self._transport.is_closing():
            return
        self._transport.pause_reading()
        if self.reading:
            self._attend()

    def read(self) -> None:
        """Something came."""
        try:
            received = _read(self.number, READ_BYTES)
        except BlockingIOError:
            return  # it was read already
        except OSError:
            self.abort()
            return
        self.take(received)

    def take(self, received: bytes) -> None:
        """This was read. Nothing: the connection ends."""
        if len(received) == READ_BYTES:
            received = _more(self.number, received)
        if not received:
            self._end()
            return
        try:
            self.reader.data_received(received)
        except Exception as error:
            self.fail(error)

    def fail(self, error: Exception) -> None:
        """What came could not be taken: it is said, and the connection ends."""
        said = {"message": "what was read was not taken", "exception": error}
        asyncio.get_running_loop().call_exception_handler({**said, "protocol": self.reader})
        self.abort()

    def _end(self) -> None:
        self.stop()
        if not self.reader.eof_received():
            self._transport.close()

    def stop(self) -> None:
        """Read no more. The protocol's ``connection_lost`` calls it at the latest."""
        self.reading = False
        self._ignore()
        here, relays = self._reading.here, self._reading.relays
        if here.get(self.number) is self:
            del here[self.number]
            relays.pop(self.number, None)

    def give_back(self) -> asyncio.Transport:
        self.stop()
        self._given_back = True
        if not self._transport.is_closing():
            self._transport.resume_reading()
        return self._transport

    def is_reading(self) -> bool:
        return self.reading

    def pause_reading(self) -> None:
        self.reading = False
        self._ignore()

    def resume_reading(self) -> None:
        if not self._transport.is_closing():
            self.reading = True
            self._attend()

    def get_extra_info(self, name: str, default: object = None) -> Any:
        return self._transport.get_extra_info(name, default)

    def is_closing(self) -> bool:
        return self._transport.is_closing()

    def write_eof(self) -> None:
        self._transport.write_eof()

    def close(self) -> None:
        self.stop()
        self._transport.close()

    def abort(self) -> None:
        self.stop()
        self._transport.abort()

    def _attend(self) -> None:
        if not self._attended:
            self._attended = True
            self._reading.here[self.number] = self
            self._poll.register(self.number, select.EPOLLIN)

    def _ignore(self) -> None:
        if self._attended:
            self._attended = False
            self._poll.unregister(self.number)

    def pass_on(self, relay: Relay | None) -> None:
        """What is like what ``relay`` knows is for it to send, and nobody else is told of it."""
        if relay is None:
            self._reading.relays.pop(self.number, None)
        elif self._reading.here.get(self.number) is self:
            self._reading.relays[self.number] = relay


def pass_on(transport: asyncio.Transport | None, relay: Relay | None) -> None:
    """See ``ReadHere.pass_on``. Elsewhere the protocol has to do it."""
    if isinstance(transport, ReadHere):
        transport.pass_on(relay)


def stop(transport: asyncio.Transport | None) -> None:
    """The connection is lost: its number may be another's soon."""
    if isinstance(transport, ReadHere):
        transport.stop()


def give_back(transport: asyncio.Transport) -> asyncio.Transport:
    """The transport that the event loop gave: it reads on."""
    return transport.give_back() if isinstance(transport, ReadHere) else transport


def _more(number: int, received: bytes) -> bytes:
    """With what else came. An end is found by the next read."""
    try:
        size = os.readv(number, (_buffer,))
    except OSError:
        return received
    return b"".join((received, memoryview(_buffer)[:size]))


def _descriptor(transport: asyncio.Transport) -> int:
    """-1: it is none whose bytes can be read here."""
    door = transport.get_extra_info("socket")
    if door is None or transport.get_extra_info("sslcontext") is not None:
        return -1
    number: int = door.fileno()
    return number
