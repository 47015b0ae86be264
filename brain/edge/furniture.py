"""What every request passes: its id, the body's limits, security headers, the access line, 500s.

Written as plain ASGI, because agents' beats pass here too, hundreds a second.
"""

from __future__ import annotations

import asyncio
import re
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brain.edge.metrics import Metrics
from brain.edge.problems import render, translate
from kernel.clock import Clock
from kernel.errors import GanglionError, Malformed, TooLarge
from kernel.ids import Ids, RequestId

BODY_BYTES_MAX: Final = 1 << 20
# A gateway ships a backlog in batches of thousands of segments; it shows its token before any of
# the body is read.
USAGE_BYTES_MAX: Final = 16 << 20
USAGE_PATH: Final = "/internal/gateway/usage"
BODY_SECONDS_MAX: Final = 30.0

_SAFE_ID = re.compile(r"[A-Za-z0-9._:-]{1,64}\Z")
_HEADERS: Final[tuple[tuple[bytes, bytes], ...]] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
_HTTPS_ONLY = (b"strict-transport-security", b"max-age=31536000; includeSubDomains")
_QUIET = ("/agent/v1/", "/health/", "/metrics", "/internal/")

_log = structlog.get_logger()


class Furniture:
    """Outermost middleware. An answer's own header always stands before ours."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        clock: Clock,
        ids: Ids,
        metrics: Metrics,
        https_only: bool,
        body_seconds_max: float = BODY_SECONDS_MAX,
    ) -> None:
        self.app = app
        self.clock = clock
        self.ids = ids
        self.metrics = metrics
        self.body_seconds_max = body_seconds_max
        self.headers = _HEADERS + ((_HTTPS_ONLY,) if https_only else ())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        await _Visit(self, scope, receive, send).run()


class _Visit:
    """One request on its way through."""

    def __init__(self, house: Furniture, scope: Scope, receive: Receive, send: Send) -> None:
        self.house = house
        self.scope = scope
        self._receive = receive
        self._send = send
        self.status = 0
        self.body_bytes = 0
        self.body_bytes_max = USAGE_BYTES_MAX if scope["path"] == USAGE_PATH else BODY_BYTES_MAX
        self.body_done = False
        self.started_ns = house.clock.monotonic_ns()
        self.rid = self._request_id()
        scope.setdefault("state", {})["request_id"] = self.rid

    def _header(self, name: bytes) -> bytes | None:
        found: list[bytes] = [value for key, value in self.scope["headers"] if key == name]
        return found[0] if found else None

    def _request_id(self) -> str:
        given = (self._header(b"x-request-id") or b"").decode("latin-1")
        return given if _SAFE_ID.match(given) else str(self.house.ids.new(RequestId))

    async def run(self) -> None:
        structlog.contextvars.clear_contextvars()
        structlog.contextvars.bind_contextvars(request_id=self.rid)
        try:
            refused = self._length_problem()
            if refused is not None:
                await self._answer(refused)
            else:
                await self.house.app(self.scope, self._limited_receive, self._marked_send)
        except GanglionError as error:
            await self._answer(error)
        except HTTPException as error:
            await self._answer(translate(error, self.scope["method"], self.scope["path"]))
        except Exception as failure:
            await self._unexpected(failure)
        finally:
            self._account()

    def _length_problem(self) -> GanglionError | None:
        length = self._header(b"content-length")
        if length is None:
            return None
        if not length.isdigit():
            return Malformed("The content-length header is not a number.")
        if int(length[:20]) <= self.body_bytes_max:
            return None
        return TooLarge(_too_large(self.body_bytes_max))

    async def _limited_receive(self) -> Message:
        """Raises what the framework lets through (HTTPException): rendered like any other."""
        if self.body_done:
            return await self._receive()
        try:
            async with asyncio.timeout(self.house.body_seconds_max):
                message = await self._receive()
        except TimeoutError:
            self.body_done = True
            raise HTTPException(408, "The body did not arrive in time.") from None
        if message["type"] == "http.request":
            self.body_bytes += len(message.get("body", b""))
            self.body_done = not message.get("more_body", False)
            if self.body_bytes > self.body_bytes_max:
                raise HTTPException(413, _too_large(self.body_bytes_max))
        return message

    async def _marked_send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = list(message.get("headers", []))
            present = {name.lower() for name, _ in headers}
            headers += [pair for pair in self.house.headers if pair[0] not in present]
            headers.append((b"x-request-id", self.rid.encode()))
            message = {**message, "headers": headers}
        await self._send(message)

    async def _answer(self, error: GanglionError) -> None:
        if self.status:
            return
        await render(error, rid=self.rid)(self.scope, self._receive, self._marked_send)

    async def _unexpected(self, failure: Exception) -> None:
        """Our mistake: the log gets the story, the caller an id to ask with."""
        _log.error("unexpected", path=self.scope["path"], exc_info=failure)
        sentence = f"Something failed on our side. Ask about {self.rid} if it comes back."
        await self._answer(GanglionError(sentence))

    def _account(self) -> None:
        seconds = (self.house.clock.monotonic_ns() - self.started_ns) / 1e9
        route = getattr(self.scope.get("route"), "path", "unmatched")
        method = self.scope["method"]
        self.house.metrics.request(method, route, self.status, seconds)
        say = _log.debug if self.scope["path"].startswith(_QUIET) else _log.info
        say(
            "request",
            method=method,
            path=self.scope["path"],
            status=self.status,
            milliseconds=round(seconds * 1000, 1),
        )


def _too_large(bytes_max: int) -> str:
    return f"The body is larger than {bytes_max >> 20} MiB, the most that is taken here."
