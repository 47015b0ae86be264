"""Bytes between a gateway and a port of the work, both ways: one read is one write.

A side that cannot be written to stops the other from being read, so that nothing gathers here.
The end of one direction is passed on as such, a broken connection as a broken one.
"""

from __future__ import annotations

import asyncio
from typing import cast

BUFFER_BYTES_MAX = 64 * 1024  # unsent bytes at which the other side is not read any more
# One for all connections, because each read is passed on before the next: asyncio's own way of
# reading makes and shrinks 256 KiB for every chunk, which was half of what a chunk cost.
_READ = memoryview(bytearray(64 * 1024))


class Side(asyncio.BufferedProtocol):
    """One of the two connections. ``tie`` both before bytes flow."""

    __slots__ = ("_ended", "_other", "_peer", "transport")

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._other: Side | None = None
        self._peer: asyncio.Transport | None = None  # the other's connection, for the usual case
        self._ended = False  # nothing more comes from here

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=BUFFER_BYTES_MAX)

    def tie(self, other: Side) -> None:
        self._other, self._peer = other, other.transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return _READ

    def buffer_updated(self, nbytes: int) -> None:
        self.take(bytes(_READ[:nbytes]))

    def take(self, received: bytes) -> None:
        """Pass on what came."""
        if self._peer is not None:
            self._peer.write(received)

    def pause_writing(self) -> None:
        if self._peer is not None:
            self._peer.pause_reading()

    def resume_writing(self) -> None:
        if self._peer is not None:
            self._peer.resume_reading()

    def eof_received(self) -> bool:
        """Keep this side for what still goes the other way, where both can do that: TLS cannot."""
        self._ended = True
        peer, other, own = self._peer, self._other, self.transport
        if peer is None or other is None or own is None:
            return False
        if other._ended or not peer.can_write_eof() or not own.can_write_eof():
            peer.close()
            return False
        peer.write_eof()
        return True

    def connection_lost(self, error: Exception | None) -> None:
        peer, self._peer, self._other = self._peer, None, None
        if peer is None:
            return
        if error is not None:
            peer.abort()
        else:
            peer.close()


def join(gateway: Side, work: Side, first: bytes) -> None:
    """Let bytes flow between two connections that stand; ``first`` came from the gateway,
    whose side is not being read."""
    assert gateway.transport is not None, "connected before"
    assert work.transport is not None, "connected before"
    gateway.tie(work)
    work.tie(gateway)
    work.transport.write(first)
    gateway.transport.resume_reading()
