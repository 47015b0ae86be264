"""Kept-alive HTTP/1.1 connections to workers: one exchange at a time on each, no read-ahead."""

from __future__ import annotations

import asyncio
from typing import cast

import httptools

from inference.answering import Answering, Flow, Lost
from inference.beginnings import Beginnings
from inference.chunks import unframed
from inference.reading import Reading, pass_on, stop
from inference.relay import Relay, data_start
from kernel.wire.gateway import LinkRow

LOOPBACK = "127.0.0.1"
KEPT_BYTES_MAX = 64 * 1024  # a longer answer is passed on as it comes
EVENT_STREAM = b"text/event-stream"
AS_IT_COMES = (b"audio/", b"image/", b"video/", b"application/octet-stream")
_WANTED = frozenset((b"content-type", b"content-length", b"transfer-encoding", b"retry-after"))


class Links:
    """All connections to one worker. ``borrow`` takes an idle one, or dials."""

    def __init__(self, row: LinkRow, reading: Reading, *, connect_seconds_max: float) -> None:
        self.port = row.port
        self.reading = reading
        self._connect_seconds_max = connect_seconds_max
        self._idle: list[Link] = []
        self._tails: set[Link] = set()
        self._dials: set[asyncio.Task[None]] = set()
        self._now_ns = 0
        self.closed = False
        self.beginnings = Beginnings()

    def borrow(self, exchange: Answering) -> None:
        """Calls ``link_ready`` at once or later, or ``answer_lost(REFUSED)``."""
        idle = self._idle
        while idle:
            link = idle.pop()
            if link._transport is not None and not link._dropped:
                link.used = True
                link.exchange = exchange
                exchange.link_ready(link)
                return
        self._lend_new(exchange)

    def _lend_new(self, exchange: Answering) -> None:
        """None that lay idle is open."""
        self.dial(exchange)

    def dial(self, exchange: Answering) -> None:
        """The same over a new connection."""
        task = asyncio.get_running_loop().create_task(self._dial(exchange))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    def put_back(self, link: Link) -> None:
        """The link's answer is over, and it can carry another."""
        if self._tails:
            self._tails.discard(link)
        if self.closed:
            link.drop()
            return
        if link.paused:
            link.resume()
        link.idle_since_ns = self._now_ns
        self._idle.append(link)

    def await_end(self, link: Link) -> None:
        """The answer is complete but for the end of its framing: give that a moment."""
        link.exchange = None
        if link.paused:
            link.resume()
        if not link._complete:  # else it came with what completed the answer
            link.idle_since_ns = self._now_ns
            self._tails.add(link)

    def sweep(self, now_ns: int, idle_ns: int) -> None:
        """Close connections that have been idle, or without their end, for so long."""
        self._now_ns = now_ns
        self.beginnings.refresh()
        while self._idle and now_ns - self._idle[0].idle_since_ns > idle_ns:
            self._idle.pop(0).drop()
        for link in [link for link in self._tails if now_ns - link.idle_since_ns > idle_ns]:
            link.drop()

    def forget(self, link: Link) -> None:
        """The connection is closed."""
        self._tails.discard(link)
        if link in self._idle:
            self._idle.remove(link)

    def close(self) -> None:
        """Drop what is idle; what is in use ends with its exchange."""
        self.closed = True
        for link in self._idle:
            link.drop()
        self._idle.clear()

    async def _dial(self, exchange: Answering) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._connect_seconds_max):
                _, link = await loop.create_connection(lambda: Link(self), LOOPBACK, self.port)
        except (OSError, TimeoutError):
            exchange.answer_lost(Lost.REFUSED)
            return
        link.exchange = exchange
        exchange.link_ready(link)


class Link(asyncio.Protocol):
    """One connection. Between exchanges it lies in its ``Links``; nothing may come then."""

    __slots__ = (
        "_answered",
        "_begun",
        "_between",
        "_chunk_over",
        "_complete",
        "_dropped",
        "_interim",
        "_kind",
        "_known",
        "_length",
        "_links",
        "_parser",
        "_parts",
        "_relay",
        "_retry_after",
        "_size",
        "_status",
        "_transport",
        "_unread",
        "_until_close",
        "exchange",
        "flow",
        "idle_since_ns",
        "paused",
        "used",
    )

    def __init__(self, links: Links) -> None:
        self._links = links
        self._known = links.beginnings
        self._transport: asyncio.Transport | None = None
        self._parser: httptools.HttpResponseParser | None = None
        self.exchange: Answering | None = None
        self.flow: Flow | None = None  # of a body that still goes out
        self.used = False  # it has carried an exchange before this one
        self.idle_since_ns = 0
        self.paused = False  # its client reads slower than the worker writes
        self._complete = self._dropped = self._until_close = self._interim = False
        self._answered = False  # bytes of the present answer have come
        self._begun = False  # the exchange was told of the head, and gets the body as it comes
        self._between = False  # what was read ends between two chunks
        self._relay: Relay | None = None  # while it does
        self._unread = b""  # the answer's head, where the parser has seen nothing of the answer
        self._status = 0
        self._expect()

    # What exchanges ask for.

    def send(self, request: bytes) -> None:
        self._answered = self._complete = self._begun = False
        if self._transport is not None:
            self._transport.write(request)

    def hurry(self) -> None:
        """The first words of the answer are to go before the chunks of others."""
        if self._transport is not None:
            self._links.reading.expect(self._transport)

    def more(self, content: bytes) -> None:
        """The next piece of a request whose beginning was sent."""
        if self._transport is not None:
            self._transport.write(content)

    def pause(self) -> None:
        self.paused = True
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        self.paused = False
        if self._transport is not None:
            self._transport.resume_reading()

    def give_back(self) -> None:
        """Nothing was sent over it: it can carry another exchange."""
        self.exchange = None
        self._links.put_back(self)

    def drop(self) -> None:
        """Close at once; a worker that still works for this exchange sees the abort."""
        self.exchange = self.flow = None
        self._relays(None)
        self._dropped = True
        if self._transport is not None:
            self._transport.abort()

    def _relays(self, relay: Relay | None) -> None:
        """Who passes on what comes next, if it is like what was read."""
        if relay is not self._relay:
            self._relay = relay
            pass_on(self._transport, relay)

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        given = cast(asyncio.Transport, transport)
        self._transport = self._links.reading.worker(self, given)
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, received: bytes) -> None:
        relay = self._relay
        if relay is not None and relay.like(received):
            relay.send(received)
            return
        exchange = self.exchange
        if exchange is not None and not self._answered:
            known = self._known
            content = known.whole.body(received) if known.whole is not None else None
            if content is not None and len(content) <= KEPT_BYTES_MAX:
                self._answered = self._complete = True
                self.exchange = None
                exchange.answer_whole(200, known.kind, b"", content)
                if not self._dropped:
                    self._links.put_back(self)
                return
            head = known.stream
            if head and received.startswith(head):
                self._answered = self._begun = self._between = True
                self._unread = head
                exchange.answer_head(200, known.stream_kind, -2)
                received = received[len(head) :]
        if not (self._between and self._take_chunks(received)):
            self._parse(received)

    def _take_chunks(self, received: bytes) -> bool:
        """Whole chunks, past the parser. False: it has to read them."""
        exchange = self.exchange
        at = data_start(received)
        if at and exchange is not None:
            self._relays(exchange.answer_event(received, at))
            return True
        found = unframed(received)
        if found is None or (found[1] and not self._unread):  # it saw the head, and is to see this
            return False
        self._relays(None)
        content, self._complete = found
        if content and exchange is not None:
            exchange.answer_body(content)
        if self._complete:
            self._between, self._unread = False, b""
            exchange, self.exchange = self.exchange, None
            if exchange is not None:
                exchange.answer_end()
            if not self._dropped:
                self._links.put_back(self)
        return True

    def _parse(self, received: bytes) -> None:
        if self._parser is None:
            return
        self._between = False
        self._relays(None)
        if self.exchange is None and (self._complete or not self._answered):
            self.drop()  # nobody asked for this
            return
        whole, self._answered = not self._answered, True
        unread, self._unread = self._unread, b""
        if whole or unread:
            self._expect()
        try:
            if unread:
                self._parser.feed_data(unread)
            self._parser.feed_data(received)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._pass_on()
            self._lose(Lost.GARBLED)
            return
        self._pass_on()
        if self._complete and not self._dropped:
            if whole and self._status == 200 and not (self._begun or self._retry_after):
                self._known.learn(received, self._kind)
            self._links.put_back(self)
        elif whole and self._begun and self._length == -2:
            self._known.learn_stream(received, self._kind)
        # What follows a chunk and ends a line ends the next one's head: then that was told.
        self._between = self._chunk_over and self._begun and received.endswith(b"\r\n")

    def _expect(self) -> None:
        """The parser begins with an answer."""
        self._chunk_over = False
        self._kind = self._retry_after = b""
        self._length, self._size = -1, 0
        self._parts: list[bytes] = []

    def pause_writing(self) -> None:
        if self.flow is not None:
            self.flow.flow(full=True)

    def resume_writing(self) -> None:
        if self.flow is not None:
            self.flow.flow(full=False)

    def eof_received(self) -> bool:
        if self._until_close and not self._complete:
            self.on_message_complete()
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._links.forget(self)
        stop(self._transport)
        self._transport = self._parser = None
        self._lose(Lost.STALE if self.used and not self._answered else Lost.CLOSED)

    # What the parser finds.

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name not in _WANTED:
            return
        if name == b"content-type":
            self._kind = value
        elif name == b"content-length":
            self._length = int(value)
        elif name == b"transfer-encoding":
            self._length = -2
        else:
            self._retry_after = value

    def on_headers_complete(self) -> None:
        assert self._parser is not None
        if self._complete:
            raise ValueError("an answer that nobody asked for")
        status = self._status = self._parser.get_status_code()
        self._interim = status < 200
        if self._interim:
            self._length = -1
            return
        self._until_close = self._length == -1
        kind = self._kind.lower()
        if self._begun:  # the head was known, and is read now for what follows it
            return
        if status == 200 and (kind[:17] == EVENT_STREAM or kind.startswith(AS_IT_COMES)):
            self._begin()

    def on_chunk_header(self) -> None:
        self._chunk_over = False

    def on_chunk_complete(self) -> None:
        self._chunk_over = True

    def on_body(self, received: bytes) -> None:
        if not self._begun:
            self._size += len(received)
            if self._size > KEPT_BYTES_MAX:
                if self._status != 200:
                    return
                self._begin()
        self._parts.append(received)  # passed on when all that came with it is read

    def on_message_complete(self) -> None:
        if self._interim:
            return
        self._complete = True
        self._pass_on()
        exchange, self.exchange = self.exchange, None
        reusable = self._parser is not None and self._parser.should_keep_alive()
        if not reusable or self._until_close:
            self.drop()
        if exchange is None:
            return
        if self._begun:
            exchange.answer_end()
            return
        exchange.answer_whole(self._status, self._kind, self._retry_after, b"".join(self._parts))

    def _pass_on(self) -> None:
        """What came of a body that has begun, in one piece."""
        if self._begun and self._parts:
            content, self._parts = b"".join(self._parts), []
            if self.exchange is not None:
                self.exchange.answer_body(content)

    def _begin(self) -> None:
        self._begun = True
        if self.exchange is not None:
            self.exchange.answer_head(self._status, self._kind, self._length)

    def _lose(self, why: Lost) -> None:
        exchange = self.exchange
        self.drop()
        if exchange is not None:
            exchange.answer_lost(why)
