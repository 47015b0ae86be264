"""A client's connection: its requests are judged, then streamed to the pod's port and back.

Nothing is collected: what comes is written on at once, and a side whose buffer is full stops the
reading of the other. A connection has one link at a time, of its own: no two clients share one.
"""

from __future__ import annotations

import asyncio
from enum import Enum, auto
from typing import cast

import httptools

from inference.errors import HeadTooLarge, MethodNotAllowed, RequestTimeout
from inference.pods import heads, pages
from inference.pods.exchange import Exchanging
from inference.pods.front import Front, ns
from inference.pods.heads import Header
from inference.pods.names import find
from kernel.errors import GanglionError, LimitReached, Malformed

WRITE_HIGH_BYTES = 256 * 1024
LINGER_NS = 2_000_000_000
TARGET_BYTES_MAX = 16 * 1024


class Phase(Enum):
    HEAD = auto()  # between requests, or within a head
    ASKED = auto()  # an exchange has it
    RAW = auto()  # WebSocket
    LINGERING = auto()  # answered; what still comes is thrown away for a moment
    CLOSED = auto()


class ClientConnection(asyncio.Protocol):
    """Made for each client by the server. Parses, judges, and hands requests to an exchange."""

    def __init__(self, front: Front) -> None:
        self._front = front
        self._settings = front.settings
        self._transport: asyncio.Transport | None = None
        self._phase = Phase.CLOSED
        self._address = ""
        self._counted = False
        self._exchange = Exchanging(front, self)
        self._since_ns = front.now_ns()  # of the present phase
        self._between = True  # no byte of the next request has come
        self._closed = False  # the client closed its sending side
        self._unsent = 0  # bytes of an answer that had not left at the last look
        # Of the present request:
        self._target = b""
        self._headers: list[Header] = []
        self._error: GanglionError | None = None
        self._whole = False  # the parser saw its end
        self._piped = False  # another one came before this one was answered
        self._keep = False
        self._unseen = 0  # bytes since anything came of them
        self._rest = b""  # came after a wish for WebSocket
        self._held: list[bytes] | None = None  # what is to leave in one write
        self._reset()

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        front = self._front
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH_BYTES)
        peer = self._transport.get_extra_info("peername")
        self._address = str(peer[0]) if peer else ""
        self._enter(Phase.HEAD)
        trusted = self._address in self._settings.trusted
        self._counted = not trusted and front.addresses.take(self._address)
        known = len(front.connections)
        full = known >= self._settings.pod_connections_max
        front.connections.add(self)
        if known >= self._settings.pod_connections_max * 2:
            self.cut()  # not even words for so many
            return
        front.counted["http_connections"] += 1
        if full or not (trusted or self._counted):
            self.refuse(LimitReached("Too many connections are open; try again.", retry_after=5))

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._phase = Phase.CLOSED
        self._front.connections.discard(self)
        if self._counted:
            self._front.addresses.give(self._address)
            self._counted = False
        self._exchange.leave()

    def pause_writing(self) -> None:
        self._exchange.client_paused(True)

    def resume_writing(self) -> None:
        self._exchange.client_paused(False)

    def data_received(self, received: bytes) -> None:
        if self._is(Phase.RAW):
            self._exchange.send_raw(received)
        elif self._is(Phase.ASKED) and self._whole and self._exchange.switches:
            self._rest += received  # ahead of the pod's consent
            if len(self._rest) > self._settings.pod_head_bytes_max:
                self.cut()
        elif self._is(Phase.HEAD, Phase.ASKED):
            if self._between:
                self._between = False
                self._since_ns = self._front.now_ns()
            self._unseen += len(received)
            self._parse(received)
            long = self._unseen > self._settings.pod_head_bytes_max
            if long and self._is(Phase.HEAD, Phase.ASKED):
                self._fault(HeadTooLarge("The request's head is too long."))

    def eof_received(self) -> bool:
        """Some clients close their sending side once they have asked."""
        self._closed = True
        if self._is(Phase.RAW):
            self._exchange.end_raw()
            return True
        return self._is(Phase.ASKED) and self._whole

    # What the parser finds.

    def on_message_begin(self) -> None:
        if not self._is(Phase.HEAD):
            self._piped = True  # its answer's place in the line is not kept: close after this one

    def on_url(self, part: bytes) -> None:
        if not self._piped:
            self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._is(Phase.HEAD) and self._error is None:
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if not self._is(Phase.HEAD) or self._error is not None:
            return
        try:
            self._admit()
        except GanglionError as error:
            self._error = error

    def on_body(self, part: bytes) -> None:
        self._unseen = 0
        if self._is(Phase.ASKED) and not self._piped:
            self._exchange.send_body(part)

    def on_message_complete(self) -> None:
        self._unseen = 0
        if not self._piped:
            self._whole = True
            if self._is(Phase.ASKED):
                self._exchange.send_end()

    # What the exchange asks for.

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def keeps(self) -> bool:
        """Whether another request may follow on this connection."""
        ends = self._piped or self._closed or self._rest or self._front.draining
        return self._keep and not ends

    def write(self, part: bytes) -> None:
        if self._held is not None:
            self._held.append(part)
        elif self._transport is not None:
            self._transport.write(part)

    def hold(self) -> None:
        self._held = []

    def let_go(self) -> None:
        held, self._held = self._held, None
        if held and self._transport is not None:
            self._transport.writelines(held)

    def pause(self, paused: bool) -> None:
        transport = self._transport
        if transport is not None and not transport.is_closing():
            if paused:
                transport.pause_reading()
            else:
                transport.resume_reading()

    def answered(self, *, keep: bool) -> None:
        """The answer is sent: wait for the next request, or see the client off."""
        if keep and self._whole and self.keeps and self.is_open:
            self._reset()
            self._between = True
            self._enter(Phase.HEAD)
            self.pause(False)  # its last body may still be on its way to the pod
        else:
            self._linger()

    def raw(self) -> None:
        """From now on bytes are passed on as they come."""
        self._enter(Phase.RAW)
        rest, self._rest = self._rest, b""
        if rest:
            self._exchange.send_raw(rest)

    def close_raw(self) -> None:
        """The pod hung up: close once what it said is sent."""
        self.let_go()
        self._exchange.leave()
        if self._transport is not None and not self._is(Phase.CLOSED):
            self._enter(Phase.LINGERING)
            self._transport.close()

    def end_raw(self) -> None:
        """The pod will say no more; what the client still sends is passed on."""
        self.let_go()
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def refuse(self, error: GanglionError) -> None:
        """Answer with an error, before anything of an answer was sent."""
        self._front.counted[f"http_{error.status}"] += 1
        bodiless = self._parser.get_method() == b"HEAD"
        self.write(pages.refusal(error, self._headers, bodiless=bodiless))
        self._linger()

    def cut(self) -> None:
        """Close so that nobody takes what was sent for a whole answer."""
        self._phase = Phase.CLOSED
        self.let_go()
        self._exchange.leave()
        if self._transport is not None:
            self._transport.abort()

    # What the front asks for.

    def watch(self, now_ns: int) -> None:
        settings, spent_ns = self._settings, now_ns - self._since_ns
        if self._is(Phase.HEAD):
            if self._between and spent_ns > ns(settings.pod_keepalive_seconds):
                self.cut()
            elif not self._between and spent_ns > ns(settings.pod_head_seconds_max):
                self._fault(RequestTimeout("The request did not arrive in time."))
        elif self._is(Phase.LINGERING):
            self._watch_end(now_ns)
        elif self._is(Phase.ASKED, Phase.RAW):
            self._exchange.watch(now_ns)

    def _watch_end(self, now_ns: int) -> None:
        """A moment for the client to close; for what it has yet to read, as long as it reads."""
        unsent = 0 if self._transport is None else self._transport.get_write_buffer_size()
        if unsent != self._unsent:
            self._unsent, self._since_ns = unsent, now_ns
        most_ns = ns(self._settings.pod_idle_seconds_max) if unsent else LINGER_NS
        if now_ns - self._since_ns > most_ns:
            self.cut()

    def shut(self) -> None:
        if self._is(Phase.HEAD) and self._between:
            self.cut()

    def _reset(self) -> None:
        """For the next request."""
        self._parser = httptools.HttpRequestParser(self)
        self._target = self._rest = b""
        self._headers, self._error = [], None
        self._whole = self._piped = self._keep = False
        self._unseen = 0

    def _is(self, *phases: Phase) -> bool:
        return self._phase in phases

    def _enter(self, phase: Phase) -> None:
        self._phase = phase
        self._since_ns = self._front.now_ns()

    def _parse(self, received: bytes) -> None:
        try:
            self._exchange.request_comes()
            self._parser.feed_data(received)
        except httptools.HttpParserUpgrade as upgrade:
            self._rest = received[upgrade.args[0] :]
            if not self._exchange.switches:
                self._keep = False  # the parser reads no further
        except httptools.HttpParserError as error:
            if self._error is None and not self._piped:
                self._fault(Malformed("The request is not HTTP.", internal=str(error)))
                return
        self._exchange.request_came()
        if self._error is not None and self._is(Phase.HEAD):
            self.refuse(self._error)
        elif self._is(Phase.HEAD) and len(self._target) > TARGET_BYTES_MAX:
            self.refuse(HeadTooLarge("The request's address is too long."))

    def _admit(self) -> None:
        """Judge the head; begin the exchange. Raises what it is to be answered with."""
        method = self._parser.get_method()
        if method in (b"CONNECT", b"TRACE"):
            raise MethodNotAllowed("This method is not taken here.", allow="GET, POST, PUT")
        version = self._parser.get_http_version()
        asked = heads.judge(method, self._target, version, self._headers)
        self._keep = bool(self._parser.should_keep_alive())
        address = find(asked.host, self._settings.pod_domain)
        peer = heads.client_of(self._address, self._headers, self._settings.trusted)
        if address is None:
            answer = pages.own(self._front, method, self._target, self._headers)
            self.write(answer)
            self._linger()
            return
        self._front.counted["http_requests"] += 1
        self._exchange.begin(asked, address, peer)
        self._enter(Phase.ASKED)

    def _fault(self, error: GanglionError) -> None:
        """Something is wrong with what the client sends."""
        if self._is(Phase.HEAD) or not self._exchange.begun:
            self._exchange.leave()
            self.refuse(error)
        else:
            self.cut()

    def _linger(self) -> None:
        """Close once the client had time to read: what it still sends must not reset the rest."""
        self.let_go()
        self._exchange.leave()
        if self._is(Phase.CLOSED) or self._transport is None:
            return
        self._enter(Phase.LINGERING)
        self.pause(False)
        if self._whole and not self._piped:
            self._transport.close()
        elif self._transport.can_write_eof():
            self._transport.write_eof()
