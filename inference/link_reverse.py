"""Links to a worker that its node's agent opened: the same to an exchange as links that we dial."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable

from inference.answering import Answering, Lost
from inference.link_fate import Told
from inference.link_lease import LeaseLinks, Shelf
from inference.links import Link, Links
from inference.reading import Reading
from kernel.clock import NS
from kernel.wire.gateway import LinkRow
from kernel.wire.links import WORKER

# A node that vanished with a request is found by the kernel, long before the first byte is due.
UNACKNOWLEDGED_MS_MAX = 30_000


class ReverseLinks(Links):
    """Kept-alive links come first, as always; then fresh ones from the shelf, then the line."""

    def __init__(
        self,
        row: LinkRow,
        reading: Reading,
        lease: LeaseLinks,
        *,
        connect_seconds_max: float,
        now_ns: Callable[[], int],
    ) -> None:
        super().__init__(row, reading, connect_seconds_max=connect_seconds_max)
        self._lease = lease
        self._shelf: Shelf = lease.shelf(WORKER)
        self._wait_ns = round(connect_seconds_max * NS)
        self._clock_ns = now_ns

    def _lend_new(self, exchange: Answering) -> None:
        # One that lay on the shelf may have been lost on its way without a word: then the
        # exchange may try once more, as with a kept one.
        self._fetch(exchange, lay_idle=True)

    def dial(self, exchange: Answering) -> None:
        """Over a connection that has not carried anything."""
        self._fetch(exchange, lay_idle=False)

    def ask_fate(self, link: Link, told: Told) -> bool:
        """Have it told, once, whether the worker had taken what the link carries, which its user is
        about to drop. False: nobody can say."""
        return isinstance(link, ReverseLink) and self._lease.fates.ask(link.number, told)

    def _fetch(self, exchange: Answering, *, lay_idle: bool) -> None:
        transport = self._shelf.take()
        if transport is not None:
            self._hand_over(transport, exchange, used=lay_idle)
            return
        absent = self._lease.silent_ns() > self._wait_ns
        if absent or not self._shelf.wait(
            _InLine(self, exchange), self._clock_ns() + self._wait_ns
        ):
            asyncio.get_running_loop().call_soon(exchange.answer_lost, Lost.REFUSED)

    def _hand_over(self, transport: asyncio.Transport, exchange: Answering, *, used: bool) -> None:
        door = transport.get_extra_info("socket")
        door.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, UNACKNOWLEDGED_MS_MAX)
        link = ReverseLink(self, self._lease.links.get(transport, 0))
        transport.set_protocol(link)
        link.connection_made(transport)
        link.used = used
        link.exchange = exchange
        exchange.link_ready(link)


class ReverseLink(Link):
    """``number`` is what its agent calls it."""

    __slots__ = ("number",)

    def __init__(self, links: Links, number: int) -> None:
        super().__init__(links)
        self.number = number


class _InLine:
    """An exchange that waits for a link."""

    def __init__(self, links: ReverseLinks, exchange: Answering) -> None:
        self._links = links
        self._exchange = exchange

    def link_served(self, transport: asyncio.Transport) -> None:
        self._links._hand_over(transport, self._exchange, used=False)

    def link_refused(self, reason: str) -> None:
        self._exchange.answer_lost(Lost.REFUSED)
