"""The client's side: HTTP/1.1 in, one request at a time per connection, answers out.

Nothing here waits. A request is parsed as it comes, refused as early as it can be, and given to an
:class:`Exchange`; what a client pipelines meanwhile waits its turn in a short queue.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass
from typing import cast

import httptools

from inference import admission, errors, routes
from inference.answer import Answer
from inference.exchange import NEVER, Exchange
from inference.gateway import Gateway
from inference.pages import Pages
from inference.routes import Kind, Route
from kernel.errors import GanglionError, Malformed, TooLarge, Unavailable
from kernel.wire.gateway import KeyRow

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
QUEUE_MAX = 8
URL_BYTES_MAX = 4096
HEADERS_MAX = 100
_CLOSE = b"connection: close\r\n"


@dataclass(slots=True)
class Arrival:
    """A whole request, or the error that it already is."""

    route: Route | None
    key: KeyRow | None
    target: bytes
    body: bytes
    error: GanglionError | None
    keep: bool  # the connection may carry another request after this one
    chunked: bool  # the client understands chunks (HTTP/1.1)
    head_only: bool


class ClientConnection(asyncio.Protocol):
    """One connection from a client."""

    def __init__(self, gateway: Gateway, pages: Pages) -> None:
        self._gateway = gateway
        self._pages = pages
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._current: Arrival | None = None
        self._queue: deque[Arrival] = deque()
        self._chunked_out = False
        self._deadline_ns = NEVER
        self._in_head = True
        self._head_bytes = 0
        self._garbled = False  # the parser is lost
        self._deaf = False  # an early refusal was sent: what still comes is thrown away
        self._forget_request()

    def _forget_request(self) -> None:
        """Be ready for the next request's head."""
        self._url = b""
        self._authorization = b""
        self._length = -1
        self._expects = False
        self._headers = 0
        self._encoded = False
        self._parts: list[bytes] = []
        self._size = 0
        self._route: Route | None = None
        self._key: KeyRow | None = None
        self._error: GanglionError | None = None

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        gateway = self._gateway
        gateway.connections.add(self)
        self._deadline_ns = gateway.tick_ns + gateway.head_ns
        if len(gateway.connections) > gateway.settings.gateway_connections_max:
            busy = Unavailable("Too many connections; try again.", retry_after=1)
            self._transport.write(errors.answer_of(busy, gateway.request_ids.new(), close=True))
            self._transport.close()

    def data_received(self, received: bytes) -> None:
        if self._deaf and (self._in_head or self._garbled):
            return
        if self._in_head and self._head_too_long(received):
            self._refuse_now(errors.HeadTooLarge("The request headers are too large."))
            return
        try:
            self._parser.feed_data(received)
        except httptools.HttpParserUpgrade:
            self._close_after_current()
        except httptools.HttpParserCallbackError as error:
            raise error.__context__ or error from None
        except httptools.HttpParserError:
            self._garbled = True
            self._refuse_now(Malformed("This is not a valid HTTP/1.1 request."))

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._gateway.connections.discard(self)
        self._transport = None
        exchange, self._exchange = self._exchange, None
        self._queue.clear()
        if exchange is not None:
            exchange.client_gone()

    def pause_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.client_paused()

    def resume_writing(self) -> None:
        if self._exchange is not None:
            self._exchange.client_resumed()

    # What the parser finds.

    def on_message_begin(self) -> None:
        self._forget_request()
        self._deadline_ns = self._gateway.tick_ns + self._gateway.head_ns

    def on_url(self, part: bytes) -> None:
        self._url += part

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers += 1
        name = name.lower()
        if name == b"authorization":
            self._authorization = value
        elif name == b"content-length":
            self._length = int(value)
        elif name == b"expect":
            self._expects = value.lower() == b"100-continue"
        elif name == b"content-encoding":
            self._encoded = value.lower() not in (b"", b"identity")

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        gateway = self._gateway
        if self._deaf:
            return
        self._deadline_ns = gateway.tick_ns + gateway.body_ns
        try:
            self._admit_head()
        except GanglionError as error:
            self._error = error
        too_large = isinstance(self._error, TooLarge)
        if too_large or (self._error is not None and self._expects):
            assert self._error is not None
            self._refuse_now(self._error)
        elif self._expects and self._current is None:
            self._write(CONTINUE)

    def on_body(self, part: bytes) -> None:
        if self._error is not None:
            return
        self._size += len(part)
        if self._size > self._gateway.settings.gateway_body_bytes_max:
            self._error = self._too_large()
            self._parts.clear()
            self._refuse_now(self._error)
            return
        self._parts.append(part)

    def on_message_complete(self) -> None:
        self._in_head = True
        self._deadline_ns = NEVER
        if self._deaf:
            if self._current is None and self._transport is not None:
                self._transport.close()
            return
        parts = self._parts
        arrival = Arrival(
            route=self._route,
            key=self._key,
            target=self._url,
            body=parts[0] if len(parts) == 1 else b"".join(parts),
            error=self._error,
            keep=self._parser.should_keep_alive(),
            chunked=self._parser.get_http_version() == "1.1",
            head_only=self._parser.get_method() == b"HEAD",
        )
        self._parts = []
        if self._current is None:
            self._serve(arrival)
            return
        self._queue.append(arrival)
        if len(self._queue) >= QUEUE_MAX:
            self._close_after_current()
        elif self._transport is not None:
            self._transport.pause_reading()

    # What an exchange asks for.

    def whole(self, answer: Answer, content: bytes, request_id: str) -> None:
        """A plain answer in one write."""
        self._write(
            b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nx-request-id: %b\r\n%bcontent-length: %d\r\n"
            b"\r\n%b"
            % (
                answer.kind or b"application/json",
                request_id.encode(),
                b"" if self._keeps() else _CLOSE,
                len(content),
                content,
            )
        )
        self._ended()

    def begin(self, answer: Answer, content: bytes, request_id: str) -> None:
        """The head and the first content of an answer whose end is not known yet."""
        assert self._current is not None
        sized = answer.stream is None and answer.length >= 0
        self._chunked_out = not sized and self._current.chunked
        if not sized and not self._current.chunked:
            self._current.keep = False  # HTTP/1.0: the end of the connection is the end
        if sized:
            framing = b"content-length: %d\r\n" % answer.length
        elif self._chunked_out:
            framing = b"transfer-encoding: chunked\r\n"
        else:
            framing = b""
        if answer.stream is not None:
            framing += b"cache-control: no-cache\r\nx-accel-buffering: no\r\n"
        head = b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nx-request-id: %b\r\n%b%b\r\n" % (
            answer.kind or b"application/json",
            request_id.encode(),
            framing,
            b"" if self._keeps() else _CLOSE,
        )
        if self._chunked_out:
            self._write(b"%b%x\r\n%b\r\n" % (head, len(content), content))
        else:
            self._write(head + content)

    def piece(self, content: bytes) -> None:
        if self._chunked_out:
            content = b"%x\r\n%b\r\n" % (len(content), content)
        self._write(content)

    def last(self, content: bytes) -> None:
        """The end of an answer that has begun."""
        if not self._chunked_out:
            self._write(content)
        elif content:
            self._write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(content), content))
        else:
            self._write(LAST_CHUNK)
        self._ended()

    def refuse(self, error: GanglionError, request_id: str) -> None:
        current = self._current
        head_only = current is not None and current.head_only
        close = not self._keeps()
        self._write(errors.answer_of(error, request_id, close=close, head_only=head_only))
        self._ended()

    def page(self, content: bytes, kind: bytes, status: int = 200) -> None:
        """An answer of the gateway's own."""
        head = (
            b"HTTP/1.1 %d %b\r\ncontent-type: %b\r\nx-request-id: %b\r\n%b"
            b"content-length: %d\r\n\r\n"
        ) % (
            status,
            errors.REASONS[status].encode(),
            kind,
            self._gateway.request_ids.new().encode(),
            b"" if self._keeps() else _CLOSE,
            len(content),
        )
        self._write(head + content)
        self._ended()

    def cut(self) -> None:
        """End the answer so that nobody can take it for a whole one."""
        self._exchange = self._current = None
        self._queue.clear()
        if self._transport is not None:
            self._transport.abort()

    # The slow beat, and the end.

    def watch(self, now_ns: int) -> None:
        """Close a connection that idles too long or sends too slowly."""
        if now_ns <= self._deadline_ns or self._transport is None:
            return
        if self._deaf:
            if self._current is None:
                self._transport.abort()
        elif self._in_head and not self._head_bytes:
            self._transport.close()
        else:
            self._refuse_now(errors.RequestTimeout("The request did not arrive in time."))

    def shut(self) -> None:
        """The gateway is going: close when idle, else after the present answer."""
        if self._current is None:
            if self._transport is not None:
                self._transport.close()
        else:
            self._close_after_current()

    # Helpers, in the order used.

    def _head_too_long(self, received: bytes) -> bool:
        limit = self._gateway.settings.gateway_head_bytes_max
        self._head_bytes += len(received)
        if self._head_bytes <= limit:
            return False
        end = received.find(b"\r\n\r\n", 0, limit)
        return end < 0 or self._head_bytes - len(received) + end > limit

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
        request_id = self._gateway.request_ids.new()
        self._write(errors.answer_of(error, request_id, close=True))
        self._transport.write_eof()
        self._deadline_ns = self._gateway.tick_ns + self._gateway.head_ns

    def _close_after_current(self) -> None:
        self._deaf = True
        if self._current is not None:
            self._current.keep = False

    def _admit_head(self) -> None:
        """Judge a request by its head. Raises what it is to be answered with."""
        if len(self._url) > URL_BYTES_MAX or self._headers > HEADERS_MAX:
            raise errors.HeadTooLarge("The request has a too long address or too many headers.")
        path = self._url.partition(b"?")[0]
        route = self._route = routes.find(path)
        if route is None:
            raise errors.unknown_route(path.decode(errors="replace"))
        if self._parser.get_method() != route.method:
            allowed = route.method.decode()
            raise errors.MethodNotAllowed(f"Use {allowed} on this route.", allow=allowed)
        if route.kind is Kind.OPEN:
            return
        gateway = self._gateway
        gateway.check_fresh()
        self._key = admission.authorise(
            gateway.tables, self._authorization, gateway.wall_ns(), connected=gateway.connected
        )
        if self._length > gateway.settings.gateway_body_bytes_max:
            raise self._too_large()
        if self._encoded:
            raise Malformed("Send the body without a content encoding.")

    def _too_large(self) -> GanglionError:
        limit = self._gateway.settings.gateway_body_bytes_max
        return TooLarge(f"The request body is too large: at most {limit} bytes are taken here.")

    def _serve(self, arrival: Arrival) -> None:
        self._current = arrival
        route, key = arrival.route, arrival.key
        gateway = self._gateway
        if arrival.error is not None or route is None:
            error = arrival.error or errors.unknown_route("")
            name = route.name if route is not None else "unknown"
            gateway.metrics.finished(name, error.status, 0)
            self.refuse(error, gateway.request_ids.new())
        elif route.kind is Kind.INFERENCE and key is not None:
            self._exchange = Exchange(
                gateway, self, key, route, gateway.request_ids.new(), gateway.now_ns()
            )
            self._exchange.start(arrival.body)
        else:
            self._pages.serve(self, arrival)

    def _keeps(self) -> bool:
        return self._current is not None and self._current.keep and not self._gateway.draining

    def _write(self, content: bytes) -> None:
        if self._transport is not None:
            self._transport.write(content)

    def _ended(self) -> None:
        """The present answer is out: serve what waits, or wait for more."""
        keeps = self._keeps()
        self._exchange = self._current = None
        transport = self._transport
        if transport is None:
            return
        if not keeps:
            transport.close()
            return
        self._deadline_ns = self._gateway.tick_ns + self._gateway.keepalive_ns
        if self._queue:
            self._serve(self._queue.popleft())
            if not self._queue and not transport.is_closing():
                transport.resume_reading()
