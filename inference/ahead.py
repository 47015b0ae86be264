"""What is new goes before what runs: requests that come, and the first words of answers, are read
between the chunks of running streams.

A worker that decodes for many steps all streams at once, and their chunks come in one burst. The
event loop reads connections in the order in which they became ready, so a request that comes in the
middle would wait for the rest of the burst, and its answer for the next. Here those connections are
looked at now and then while a burst lasts. What is not read here the event loop reads as ever.
"""

from __future__ import annotations

import asyncio
import os
import select

READ_BYTES = 16 * 1024
TAKEN_MAX = 8  # at one look
EVERY = 32  # chunks of a stream; a power of two
_ALWAYS = select.EPOLLIN | select.EPOLLET
_ONCE = select.EPOLLIN | select.EPOLLONESHOT


class Ahead:
    """Of one process. Nothing here raises for a connection that is gone."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._readers: dict[int, tuple[asyncio.Protocol, asyncio.Transport]] = {}
        self._looking = False

    def watch(self, reader: asyncio.Protocol, transport: asyncio.Transport) -> int:
        """Whatever comes over it, until ``forget`` is called with what this gives."""
        descriptor = _descriptor(transport)
        if descriptor >= 0:
            self._readers[descriptor] = reader, transport
            self._poll.register(descriptor, _ALWAYS)
        return descriptor

    def forget(self, descriptor: int) -> None:
        """It is closed, or another reads it now; its number may be another's soon."""
        self._readers.pop(descriptor, None)

    def expect(self, reader: asyncio.Protocol, transport: asyncio.Transport) -> None:
        """What comes over it next."""
        descriptor = _descriptor(transport)
        if descriptor < 0:
            return
        self._readers[descriptor] = reader, transport
        try:
            self._poll.modify(descriptor, _ONCE)
        except FileNotFoundError:
            self._poll.register(descriptor, _ONCE)

    def look(self) -> None:
        """Read what is new."""
        if self._looking:
            return
        self._looking = True
        try:
            for descriptor, _ in self._poll.poll(0, TAKEN_MAX):
                self._read(descriptor)
        finally:
            self._looking = False

    def _read(self, descriptor: int) -> None:
        reader, transport = self._readers.get(descriptor, (None, None))
        if reader is None or transport is None:
            return  # it was forgotten, and is not closed yet
        if transport.get_protocol() is not reader or not transport.is_reading():
            return
        try:
            received = os.read(descriptor, READ_BYTES)
        except OSError:
            return
        if received:  # else it ended, and the event loop will see that, too
            reader.data_received(received)


def _descriptor(transport: asyncio.Transport) -> int:
    """-1: it is none whose bytes could be read here."""
    door = transport.get_extra_info("socket")
    if door is None or transport.get_extra_info("sslcontext") is not None:
        return -1
    number: int = door.fileno()
    return number
