"""The gateway's side of a raw link, and the worker's: what they tell of each other's end.

A gateway that closes a link before the work said a byte is told how far the work was, as far as
this host can know it. The work is sent the end of its input; a work that had taken the request
closes in good order and lives on. One that died with it unread leaves the kernel to break the
connection; one that died having read it looks well, but does not stand any more: how far it was
nobody can say, and what cannot be shown to have begun is not.
"""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from kernel.wire import links as wire
from node_agent.link_pump import Side, join

if TYPE_CHECKING:
    from node_agent.link_tether import Port, Tether

WORK_CONNECT_SECONDS_MAX = 3.0
PARTING_SECONDS_MAX = 0.25  # for the work to close after the gateway did
STANDS_SECONDS = 0.05  # so long a work that lives keeps a connection that says nothing
UNACKNOWLEDGED_MS_MAX = 120_000  # of a worker's answer; gateways give up slow clients before
SHELL_BYTES_MAX = 64 * 1024
WORK_HOST = "127.0.0.1"


class RawLink(Side):
    """The gateway's side of a raw link. Its far end is opened by the first bytes."""

    __slots__ = ("_begun", "_cut", "_number", "_parted", "_port", "_tether", "unheard")

    def __init__(self, tether: Tether, port: Port, number: int) -> None:
        super().__init__()
        self._tether = tether
        self._port = port
        self._number = number
        self._begun = False
        self._cut = False  # by our own wish
        self._parted = False  # the gateway closed first
        self.unheard = False  # the work was sent something, and said nothing since

    def abort(self) -> None:
        self._cut = True
        if self.transport is not None:
            self.transport.abort()

    def take(self, received: bytes) -> None:
        self.unheard = True
        if self._begun:
            super().take(received)
            return
        self._begun = True
        assert self.transport is not None, "it was handed a connection"
        self.transport.pause_reading()
        self._tether.used(self)
        if self._port == wire.EXEC:
            self._tether.start(self._open_shell(received))
        else:
            self._tether.start(self._open_port(received))

    def eof_received(self) -> bool:
        return False if self._part() else super().eof_received()

    def connection_lost(self, error: Exception | None) -> None:
        if not self._part():
            super().connection_lost(error)
        self._tether.lost(self)

    def work_ended(self, *, broken: bool) -> None:
        """The work's side is closed: tell whether it had taken what this link carried last."""
        if self._port != wire.WORKER or self._cut:
            return
        if self.unheard and self._parted and not broken:
            self._tether.start(self._tell_parted())
        else:
            self._tether.tell(wire.Fate(self._number, not self.unheard))

    async def _tell_parted(self) -> None:
        """It closed in good order, as the kernel does for a process that was killed, too."""
        begun = await _stands(self._tether.tie.published(wire.WORKER))
        self._tether.tell(wire.Fate(self._number, begun))

    def _part(self) -> bool:
        """The gateway left: where the work has not said a byte, wait for how it closes."""
        work, transport = self._other, self._peer
        if self._cut or not (self.unheard and isinstance(work, WorkSide) and work.stands()):
            return False
        assert transport is not None, "it is tied"
        self._parted = True
        self._peer = self._other = None
        work.part(transport)
        return True

    async def _open_port(self, first: bytes) -> None:
        """Connect to the work, or break the link: the gateway then sees what a refused dial is."""
        loop = asyncio.get_running_loop()
        work = WorkSide(self) if self._port == wire.WORKER else Side()
        port = self._tether.tie.published(self._port)
        try:
            async with asyncio.timeout(WORK_CONNECT_SECONDS_MAX):
                await loop.create_connection(lambda: work, WORK_HOST, port)
        except (OSError, TimeoutError):
            self.work_ended(broken=True)
            self.abort()
            return
        if self.transport is None or self.transport.is_closing():
            assert work.transport is not None, "it was connected"
            work.transport.abort()
            return
        if self._port == wire.WORKER:
            _give_up_unacknowledged(self.transport)
        join(self, work, first)

    async def _open_shell(self, first: bytes) -> None:
        """The link becomes a pair of streams for the shell that the work's engine opens."""
        shell, transport = self._tether.shell(), self.transport
        if shell is None or transport is None or transport.is_closing():
            self.abort()
            return
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=SHELL_BYTES_MAX)
        streams = asyncio.StreamReaderProtocol(reader)
        transport.set_protocol(streams)
        streams.connection_made(transport)
        reader.feed_data(first)
        transport.resume_reading()
        writer = asyncio.StreamWriter(transport, streams, reader, loop)
        try:
            await shell(self._tether.tie.lease_id, reader, writer)
        finally:
            transport.close()
            self._tether.lost(self)


class WorkSide(Side):
    """The worker's side, of which gateways are told."""

    __slots__ = ("_link",)

    def __init__(self, link: RawLink) -> None:
        super().__init__()
        self._link: RawLink | None = link

    def take(self, received: bytes) -> None:
        if self._link is not None:
            self._link.unheard = False
        if self._peer is not None:
            self._peer.write(received)

    def connection_lost(self, error: Exception | None) -> None:
        if self._link is not None:
            self._link.work_ended(broken=error is not None)
        super().connection_lost(error)

    def stands(self) -> bool:
        """It has not ended, and was given all that came for it."""
        transport = self.transport
        return (
            not self._ended
            and transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        )

    def part(self, transport: asyncio.Transport) -> None:
        """Nobody listens any more: end the work's input, and wait a moment for its own end."""
        self._peer = self._other = None
        transport.write_eof()
        asyncio.get_running_loop().call_later(PARTING_SECONDS_MAX, self._give_up)

    def _give_up(self) -> None:
        """How far it was is not known."""
        transport, self._link = self.transport, None
        if transport is not None:
            transport.abort()


async def _stands(port: int) -> bool:
    """Whether the work takes a connection and keeps it: a proxy before a dead one drops it."""
    try:
        async with asyncio.timeout(WORK_CONNECT_SECONDS_MAX):
            reader, writer = await asyncio.open_connection(WORK_HOST, port)
    except (OSError, TimeoutError):
        return False
    try:
        async with asyncio.timeout(STANDS_SECONDS):
            return bool(await reader.read(1))
    except TimeoutError:
        return True
    except OSError:
        return False
    finally:
        writer.transport.abort()


def _give_up_unacknowledged(transport: asyncio.Transport) -> None:
    door = transport.get_extra_info("socket")
    with suppress(OSError, AttributeError):
        door.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS_MAX)
