"""A client's request while it comes in, and what its head alone already decides."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from inference import admission, errors, extras, routes
from inference.gateway import Gateway
from inference.limits import Limits, address
from inference.routes import OPEN, SOCKET, Route
from kernel.errors import GanglionError, Malformed, TooLarge, Unauthenticated
from kernel.wire.gateway import KeyRow

URL_BYTES_MAX = 4096
_SITE = re.compile(rb"https?://[^/?]*(?=/)", re.IGNORECASE)  # as a proxy is asked (RFC 9112, 3.2.2)
KEEP_ALIVE = b"x-ganglion-keep-alive"  # ``sse``: comments while a stream waits for a worker
OPENING = (b"upgrade", b"sec-websocket-key", b"sec-websocket-version", b"sec-websocket-protocol")
WANTED = (
    frozenset(
        (
            b"authorization",
            b"x-api-key",
            b"content-length",
            b"expect",
            b"content-encoding",
            b"transfer-encoding",
            b"x-forwarded-for",
            *OPENING,
        )
    )
    | {KEEP_ALIVE}
    | extras.NAMES
)
FORWARDED = b"x-forwarded-for"
SUBPROTOCOL_KEY = b"openai-insecure-api-key."  # of browsers, which can set no other header


class Request:
    """Filled by the parser; ``error`` is what it will be answered with, when it has one."""

    __slots__ = (
        "_authorization",
        "_chunks",
        "_encoded",
        "_length",
        "chunked",
        "comments",
        "counted",
        "error",
        "expects",
        "extras",
        "forwarded",
        "head_only",
        "keep",
        "key",
        "opening",
        "parts",
        "route",
        "sink",
        "size",
        "url",
        "whole",
    )

    opening: dict[bytes, bytes]  # of a WebSocket; not there on other requests

    forwarded: bytes  # who a proxy says sent it; not there on other requests

    comments: bool  # it asked for them; not there on other requests

    whole: bool  # a form has come to its end; not there on other requests

    def __init__(self) -> None:
        self.url = b""
        self._authorization = b""
        self._length = 0
        self._encoded = False
        self._chunks = False  # its body comes in chunks
        self.expects = False  # it waits for 100 Continue before it sends its body
        self.parts: list[bytes] = []
        self.size = 0
        self.counted = 0  # of it, among the long ones
        self.sink: Callable[[bytes], None] | None = None  # where its body goes instead
        self.route: Route | None = None
        self.key: KeyRow | None = None
        self.error: GanglionError | None = None
        self.extras: extras.Extras | None = None
        self.head_only = False
        self.keep = False  # the connection may carry another request after this one
        self.chunked = False  # the client understands chunks (HTTP/1.1)

    @property
    def body(self) -> bytes:
        parts = self.parts
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def take(self, part: bytes, gateway: Gateway) -> None:
        """The next piece of its body. Raises what it is to be answered with."""
        self.size += len(part)
        if self.size > gateway.body_bytes_max:
            raise too_large(gateway.body_bytes_max)
        self.counted = gateway.bodies.grow(self.counted, self.size)
        self.parts.append(part)

    def let_go(self, gateway: Gateway) -> None:
        """Its body is needed no more."""
        if self.counted:
            gateway.bodies.drop(self.counted)
            self.counted = 0
        self.parts.clear()

    def header(self, name: bytes, value: bytes) -> None:
        """One of the ``WANTED`` headers, its name in small letters."""
        if name == b"authorization":
            self._authorization = value
        elif name == b"x-api-key":  # as Anthropic's clients send it
            self._authorization = self._authorization or b"Bearer " + value
        elif name == b"content-length":
            self._length = int(value)
        elif name == b"expect":
            self.expects = value.lower() == b"100-continue"
        elif name == b"content-encoding":
            self._encoded = value.lower() not in (b"", b"identity")
        elif name == b"transfer-encoding":
            self._chunks = True
        elif name == KEEP_ALIVE:
            self.comments = value.lower() == b"sse"
        elif name == FORWARDED:
            self.forwarded = getattr(self, "forwarded", b"") + b"," + value
        elif name in extras.NAMES:
            self.extras = self.extras or extras.Extras()
            self.extras.take(name, value)
        else:
            self._open(name, value)

    def refuse(self, error: GanglionError) -> bool:
        """Nothing of its body is kept. True when that is not waited for."""
        self.error, self.sink = error, ignore
        form = self.route is not None and self.route.form
        return self.expects or form or isinstance(error, TooLarge)

    def admit_head(
        self, gateway: Gateway, method: bytes, transport: asyncio.BaseTransport | None
    ) -> Route:
        """Judge the request by its head. Raises what it is to be answered with."""
        url = self.url
        if len(url) > URL_BYTES_MAX:
            raise errors.HeadTooLarge("The request's address is too long.")
        if not url.startswith(b"/"):
            url = self.url = _SITE.sub(b"", url, 1)
        path = url.partition(b"?")[0] if b"?" in url else url
        route = self.route = routes.find(path)
        if route is None or method != route.method:
            self.head_only = method == b"HEAD"
            if route is None:
                raise errors.unknown_route(path.decode(errors="replace"))
            allowed = route.method.decode()
            raise errors.MethodNotAllowed(f"Use {allowed} on this route.", allow=allowed)
        if route.kind is OPEN:
            return route
        self.judge(gateway, transport)
        if self._length > gateway.body_bytes_max:
            uploads_max = gateway.settings.gateway_upload_bytes_max
            limit = uploads_max if route.form else gateway.body_bytes_max
            if self._length > limit:
                raise too_large(limit)
        if self._encoded:
            raise Malformed("Send the body without a content encoding.")
        return route

    def judge(self, gateway: Gateway, transport: asyncio.BaseTransport | None) -> None:
        """What two requests with the same head may differ in: whether they may be made now."""
        gateway.check_fresh()
        limits, tables, known = gateway.limits, gateway.tables, self.key
        if limits.per_address:
            limits.from_address(self._sender(limits, transport))
        if known is not None and not known.expires_at_ns and tables.keys.get(known.digest) is known:
            return
        try:
            self.key = admission.authorise(
                tables, self._authorization, gateway.wall_ns, connected=gateway.connected
            )
        except Unauthenticated as error:
            raise address.refusal(limits, self._sender(limits, transport), error) from None

    @property
    def usual(self) -> bool:
        """Served as any other with this head would be: nothing of it is for this one alone."""
        return (
            self.error is None
            and self.sink is None
            and self.extras is None
            and self.keep
            and self.key is not None
            and not (self.expects or self._encoded)
            and not (hasattr(self, "opening") or hasattr(self, "comments"))
        )

    @property
    def offers(self) -> bool:
        """It may offer to go on in another protocol, and its route has none."""
        return hasattr(self, "opening") and (self.route is None or self.route.kind is not SOCKET)

    def told_anew(self, version: str) -> bytes:
        """A head that frames its body as its own does, and nothing else."""
        framing = b"transfer-encoding: chunked"
        if not self._chunks:
            framing = b"content-length: %d" % self._length
        words = b"POST / HTTP/%b\r\nconnection: close\r\n%b\r\n\r\n"
        return words % (version.encode(), framing)

    def _sender(self, limits: Limits, transport: asyncio.BaseTransport | None) -> str:
        return address.sender(transport, getattr(self, "forwarded", b""), limits.trusted)

    def _open(self, name: bytes, value: bytes) -> None:
        """A header of a WebSocket's opening."""
        if not hasattr(self, "opening"):
            self.opening = {}
        before = self.opening.get(name)
        self.opening[name] = value if before is None else before + b"," + value
        if name == b"sec-websocket-protocol" and not self._authorization:
            for offered in value.split(b","):
                word = offered.strip()
                if word.startswith(SUBPROTOCOL_KEY):
                    self._authorization = b"Bearer " + word[len(SUBPROTOCOL_KEY) :]


def ignore(part: bytes) -> None:
    """Where the body of a refused request goes."""


def too_large(limit: int) -> GanglionError:
    return TooLarge(f"The request body is too large: at most {limit} bytes are taken here.")


def head_too_long(received: bytes, head_bytes: int, limit: int) -> bool:
    """More has come than a head may have: is it the head, or a body in the same packet?"""
    end = received.find(b"\r\n\r\n", 0, limit)
    return end < 0 or head_bytes - len(received) + end > limit


def shape_of(route: Route | None) -> Callable[[GanglionError], bytes]:
    """How errors are written on this route."""
    return errors.body_of if route is None else route.dialect.body_of
