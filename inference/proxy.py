"""The client's side: HTTP/1.1 in, one request at a time per connection, answers out.

Nothing here waits. A request is parsed as it comes, refused as early as it can be, and given to an
:class:`Exchange`; what a client pipelines meanwhile waits its turn in a short queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from types import SimpleNamespace
from typing import cast

import httptools

from inference import errors, heads, upload_tap
from inference.exchange import NEVER, Exchange
from inference.gateway import Gateway
from inference.incoming import WANTED, Request, head_too_long, ignore, shape_of
from inference.outlet import Outlet
from inference.pages import Pages
from inference.reading import give_back, stop
from inference.repeats import Repeats
from inference.routes import INFERENCE, SOCKET, Route
from inference.upload import UploadExchange
from kernel.errors import GanglionError, Malformed, Unauthenticated, Unavailable
from kernel.wire.gateway import KeyRow

QUEUE_MAX = 8


class ClientConnection(Outlet, asyncio.Protocol):
    """One connection from a client."""

    __slots__ = (
        "_clogged",
        "_garbled",
        "_head_bytes",
        "_in_head",
        "_incoming",
        "_offered",
        "_pages",
        "_parser",
        "_repeats",
        "deadline_ns",
    )

    def __init__(self, gateway: Gateway, pages: Pages) -> None:
        self._gateway = gateway
        self._pages = pages
        self._parser = httptools.HttpRequestParser(self)
        self._transport = None
        self._exchange = None
        self._incoming = Request()
        self._current = None
        self._queue = deque()
        self._chunked_out = False
        self.deadline_ns = NEVER
        self._in_head = True
        self._repeats = Repeats()
        self._head_bytes = 0
        self._clogged = False  # the client does not read what was written
        self._garbled = False  # the parser is lost
        self._offered = False  # the client offers another protocol: its body was left out
        self._deaf = False  # an early refusal was sent: what still comes is thrown away

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        gateway = self._gateway
        self._transport = gateway.reading.client(self, cast(asyncio.Transport, transport))
        gateway.connections.add(self)
        self.deadline_ns = gateway.tick_ns + gateway.head_ns
        if len(gateway.connections) > gateway.settings.gateway_connections_max:
            busy = Unavailable("Too many connections; try again.", retry_after=1)
            self._transport.write(errors.answer_of(busy, gateway.request_ids.new(), close=True))
            self._transport.close()

    def data_received(self, received: bytes) -> None:
        if self._in_head:
            if self._deaf:
                return
            alone = self._current is None and not self._head_bytes
            if alone and (same := self._repeats.take(received, self._gateway, self._transport)):
                self.deadline_ns = NEVER
                route, key = same.route, same.key
                if same.error is None and route is not None and key is not None:
                    self._run(same, route, key, same.parts[0])  # it was judged just now
                else:
                    self._serve(same)
                return
            self._head_bytes += len(received)
            limit = self._gateway.head_bytes_max
            if self._head_bytes > limit and head_too_long(received, self._head_bytes, limit):
                self._refuse_now(errors.HeadTooLarge("The request headers are too large."))
                return
        elif self._garbled:
            return
        else:
            alone = False
        try:
            self._parser.feed_data(received)
            if alone and self._in_head and not self._deaf:
                self._repeats.learn(received, self._incoming)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgraded(received[upgrade.args[0] :])
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError:
            self._garbled = True
            self._refuse_now(Malformed("This is not a valid HTTP/1.1 request."))

    def connection_lost(self, error: Exception | None) -> None:
        self._gateway.connections.discard(self)
        stop(self._transport)
        self._transport = None
        exchange, self._exchange = self._exchange, None
        if exchange is not None:
            exchange.client_gone()
        for request in (self._incoming, self._current, *self._queue):
            if request is not None:
                request.let_go(self._gateway)
        self._queue.clear()

    def pause_writing(self) -> None:
        self._clogged = True
        if self._exchange is not None:
            self._exchange.client_paused()

    def resume_writing(self) -> None:
        self._clogged = False
        if self._exchange is not None:
            self._exchange.client_resumed()
        elif self._current is None and self._transport is not None and not self._deaf:
            self._go_on(self._transport)

    # What the parser finds.

    def on_message_begin(self) -> None:
        self._incoming = Request()
        self.deadline_ns = self._gateway.tick_ns + self._gateway.head_ns

    def on_url(self, part: bytes) -> None:
        self._incoming.url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name in WANTED:
            self._incoming.header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        if self._deaf:
            return
        gateway, request = self._gateway, self._incoming
        self.deadline_ns = gateway.tick_ns + gateway.body_ns
        try:
            route = request.admit_head(gateway, self._parser.get_method(), self._transport)
        except GanglionError as error:
            if request.refuse(error):
                self._refuse_now(error)
        else:
            if route.form and not (request.extras and request.extras.keys):
                self._upload(request)
            elif request.expects and self._current is None:
                self._write(heads.CONTINUE)
        self._offered = request.offers and self._parser.should_upgrade()

    def on_body(self, part: bytes) -> None:
        request = self._incoming
        sink = request.sink
        if sink is not None:
            sink(part)
            return
        try:
            request.take(part, self._gateway)
        except GanglionError as error:
            request.refuse(error)
            request.let_go(self._gateway)
            self._refuse_now(error)

    def on_message_complete(self) -> None:
        if self._offered:
            return  # so it is for the parser, which leaves its body out
        self._in_head = True
        self.deadline_ns = NEVER
        if self._deaf:
            if self._current is None and self._transport is not None:
                self._transport.close()
            return
        request = self._incoming
        request.chunked = self._parser.get_http_version() == "1.1"
        # A client of HTTP/1.0 that is kept has to be told so, and few ask: they are not kept.
        request.keep = request.chunked and self._parser.should_keep_alive()
        if self._current is None:
            self._serve(request)
            return
        if request.sink is not None and request.error is None:
            request.whole = True
            if request is self._current and isinstance(self._exchange, UploadExchange):
                self._exchange.finish()
            return
        self._queue.append(request)
        if len(self._queue) >= QUEUE_MAX:
            self._close_after_current()
        elif self._transport is not None:
            self._transport.pause_reading()

    # The slow beat, and the end.

    def watch(self, now_ns: int) -> None:
        """Close a connection that idles too long or sends too slowly."""
        if now_ns <= self.deadline_ns or self._transport is None:
            return
        if self._deaf:
            if self._current is None:
                self._transport.abort()
        elif self._clogged and self._current is None:
            self._transport.abort()  # the rest of its answer would never be read
        elif self._in_head and not self._head_bytes:
            self._transport.close()
        else:
            self._refuse_now(errors.RequestTimeout("The request did not arrive in time."))

    def shut(self) -> None:
        """The gateway is going: close when idle, else after the present answer. What comes in just
        now has one too, the last of a gateway that drains."""
        if self._current is not None:
            self._close_after_current()
        elif self._in_head and not self._head_bytes and self._transport is not None:
            self._transport.close()

    # Helpers, in the order used.

    def _refuse_now(self, error: GanglionError) -> None:
        """Answer before the request has come whole, and close our half of the connection.

        The other half stays open for a while, its bytes thrown away: closing it would reset the
        connection, and a client that is still sending would never read the answer.
        """
        if self._transport is None or self._deaf:
            return
        self._deaf = True
        if self._current is not None:
            self._close_after_current()
            return
        route, request_id = self._incoming.route, self._gateway.request_ids.new()
        self._count(route, error)
        shape = shape_of(route)
        self._write(errors.answer_of(error, request_id, close=True, body_of=shape))
        self._hear_out(self._transport, self._gateway.head_ns)

    def _count(self, route: Route | None, error: GanglionError) -> None:
        name = route.name if route is not None else "unknown"
        self._gateway.metrics.finished(name, errors.status_of(error), 0)

    def _hear_out(self, transport: asyncio.Transport, lasts_ns: int) -> None:
        """All was said: let the client say its rest, for so long."""
        self._deaf = True
        self._incoming.sink = ignore
        transport.write_eof()
        self.deadline_ns = self._gateway.tick_ns + lasts_ns

    def _close_after_current(self) -> None:
        self._deaf = True
        if self._current is not None:
            self._current.keep = False

    def _upgraded(self, rest: bytes) -> None:
        """HTTP ends here: a WebSocket goes on over the same connection."""
        if self._offered:
            self._decline(rest)
            return
        request, transport = self._current, self._transport
        if request is None or transport is None:
            if transport is not None:
                transport.close()  # it was refused
        elif request.route is None or request.route.kind is not SOCKET:
            self._close_after_current()
        else:
            from inference.realtime.door import take_over  # most gateways never need it

            self._current = self._transport = None
            self._gateway.connections.discard(self)
            take_over(self._gateway, give_back(transport), request, rest)

    def _decline(self, rest: bytes) -> None:
        """Another protocol was offered (HTTP/2, by Java's client) and need not be taken: what was
        left out is read as the body that it is. The connection ends after it."""
        self._offered = False
        head = self._incoming.told_anew(self._parser.get_http_version())
        body = SimpleNamespace(on_body=self.on_body, on_message_complete=self.on_message_complete)
        self._parser = httptools.HttpRequestParser(body)
        self.data_received(head + rest)

    def _serve(self, request: Request) -> None:
        self._current = request
        gateway, route, key = self._gateway, request.route, request.key
        if request.error is not None or route is None:
            error = request.error or errors.unknown_route("")
            self._count(route, error)
            self.refuse(error, gateway.request_ids.new())
        elif route.kind is INFERENCE and key is not None:
            key_now = gateway.tables.keys.get(key.digest)
            if key_now is not None:
                self._run(request, route, key_now, request.body)
            else:  # revoked meanwhile
                revoked = Unauthenticated("This API key was revoked.")
                self.refuse(revoked, gateway.request_ids.new())
        elif route.kind is not SOCKET:
            self._pages.serve(self, request)
        elif not self._parser.should_upgrade():
            upgrade = errors.UpgradeRequired("Open a WebSocket on this route.")
            self.refuse(upgrade, gateway.request_ids.new())

    def _run(self, request: Request, route: Route, key: KeyRow, body: bytes) -> None:
        """A request that a worker is to answer; ``key`` is known at this moment."""
        self._current = request
        gateway = self._gateway
        request_id = gateway.request_ids.new()
        make = Exchange if request.extras is None else request.extras.running
        exchange = make(gateway, self, key, route, request_id, gateway.now_ns())
        self._exchange = exchange
        exchange.start(body)

    def _upload(self, request: Request) -> None:
        """A form is served while it comes; its exchange looks after its pace."""
        self.deadline_ns = NEVER
        request.chunked = self._parser.get_http_version() == "1.1"
        request.whole, request.sink = False, request.parts.append
        if self._current is None:
            self._serve_upload(request)
            return
        self._queue.append(request)
        if self._transport is not None:
            self._transport.pause_reading()

    def _serve_upload(self, request: Request) -> None:
        self._current = request
        if self._transport is not None:
            upload = upload_tap.begin(self._gateway, self, request, self._transport)
            if upload is not None:
                self._exchange = upload
                upload_tap.hand_over(request, upload)

    def _ended(self, keeps: bool) -> None:
        """The present answer is out: serve what waits, or wait for more."""
        current, self._exchange, self._current = self._current, None, None
        if current is not None:
            current.let_go(self._gateway)
        transport = self._transport
        if transport is None:
            return
        if not keeps:
            if self._in_head or self._incoming.sink is None:
                transport.close()
            else:  # answered in the middle of its body
                self._hear_out(transport, self._gateway.body_ns)
            return
        if not self._clogged:
            self._go_on(transport)
            return
        self.deadline_ns = self._gateway.tick_ns + self._gateway.idle_ns
        if transport.is_reading():  # nothing more is taken from who takes nothing
            transport.pause_reading()

    def _go_on(self, transport: asyncio.Transport) -> None:
        """Serve what waits, or wait for more."""
        self.deadline_ns = self._gateway.tick_ns + self._gateway.keepalive_ns
        request = self._queue.popleft() if self._queue else None
        if not (self._queue or transport.is_reading() or transport.is_closing()):
            transport.resume_reading()
        if request is not None:
            form = request.sink is not None and request.error is None
            self._serve_upload(request) if form else self._serve(request)
