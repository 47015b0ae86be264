"""``ssh -L``: a connection to one of the pod's own opened ports, over a raw link."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import asyncssh


class ForwardSession(asyncssh.SSHTCPSession[bytes]):
    """One forwarded connection; ``over`` is called once at its end."""

    def __init__(self, over: Callable[[ForwardSession], None]) -> None:
        self._over = over
        self._chan: asyncssh.SSHTCPChannel[bytes] | None = None
        self._link: asyncio.Transport | None = None
        self._channel_full = False
        self._connection_full = False
        self._started = False

    @property
    def is_over(self) -> bool:
        """Its end was said; only the client's last word is missing."""
        return self._chan is not None and self._chan.is_closing()

    def attach(self, link: asyncio.Transport) -> bool:
        """Take over a raw link. False when it was lost before anybody listened."""
        link.set_protocol(Far(self))
        if link.is_closing():
            return False
        self._link = link
        link.pause_reading()
        return True

    def drop(self) -> None:
        """Close both sides at once."""
        link, self._link = self._link, None
        if link is not None:
            link.abort()
        if self._chan is not None:
            self._chan.abort()

    def connection_full(self, full: bool) -> None:
        self._connection_full = full
        self._hold()

    # What the channel tells.

    def connection_made(self, chan: asyncssh.SSHTCPChannel[bytes]) -> None:
        self._chan = chan

    def session_started(self) -> None:
        self._started = True
        self._hold()

    def connection_lost(self, exc: Exception | None) -> None:
        self._chan = None
        link, self._link = self._link, None
        if link is not None:
            link.close()  # once the pod has what the client sent
        self._over(self)

    def data_received(self, data: bytes, datatype: int | None) -> None:
        if self._link is not None:
            self._link.write(data)

    def eof_received(self) -> bool:
        if self._link is not None and self._link.can_write_eof():
            self._link.write_eof()
        return True

    def pause_writing(self) -> None:
        self._channel_full = True
        self._hold()

    def resume_writing(self) -> None:
        self._channel_full = False
        self._hold()

    # What the link tells.

    def came(self, part: bytes) -> None:
        if self._chan is not None and not self._chan.is_closing():
            self._chan.write(part)

    def ended(self) -> None:
        if self._chan is not None and not self._chan.is_closing():
            self._chan.write_eof()

    def lost(self) -> None:
        self._link = None
        if self._chan is not None:
            self._chan.close()

    def link_paused(self, paused: bool) -> None:
        if self._chan is not None:
            if paused:
                self._chan.pause_reading()
            else:
                self._chan.resume_reading()

    def _hold(self) -> None:
        if self._link is None or self._link.is_closing() or not self._started:
            return
        if self._channel_full or self._connection_full:
            self._link.pause_reading()
        else:
            self._link.resume_reading()


class Far(asyncio.Protocol):
    """The link's side of a forwarded connection."""

    def __init__(self, session: ForwardSession) -> None:
        self._session = session

    def data_received(self, received: bytes) -> None:
        self._session.came(received)

    def eof_received(self) -> bool:
        self._session.ended()
        return True

    def pause_writing(self) -> None:
        self._session.link_paused(True)

    def resume_writing(self) -> None:
        self._session.link_paused(False)

    def connection_lost(self, error: Exception | None) -> None:
        self._session.lost()
