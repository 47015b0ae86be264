"""Beats and the agents' long polls, taken before anything else looks at them: hundreds come in a
second, and all are alike.

A call that is right is answered here. Whatever is not goes on to the route of the same path, with
its body or with what it was refused for, and is met there as any other request is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from brain.fleet.calls import BEAT_BYTES_MAX, REFUSED, SignedCall, take_beat, take_wake
from brain.fleet.front import AgentFront
from kernel.clock import Clock
from kernel.wire.agent import MAC_HEADER, SEQ_HEADER, SESSION_HEADER

BODY_SECONDS_MAX: Final = 10.0
BEAT_PATH: Final = "/agent/v1/beat"
WAKE_PATH: Final = "/agent/v1/wake"
_SESSION, _SEQ, _MAC = (name.lower().encode() for name in (SESSION_HEADER, SEQ_HEADER, MAC_HEADER))
_HEADERS: Final = [
    (b"content-type", b"application/json"),
    (b"cache-control", b"no-store"),
    (b"x-content-type-options", b"nosniff"),
]
_NOTHING: Final = _HEADERS[1:]


class BeatDoor:
    """The outermost ASGI application. ``answered(seconds)`` counts each beat that ended here, and
    ``waited`` each long poll."""

    def __init__(
        self,
        app: ASGIApp,
        *,
        front: AgentFront,
        clock: Clock,
        answered: Callable[[float], None],
        waited: Callable[[float], None],
    ) -> None:
        self.app = app
        self.front = front
        self.clock = clock
        self.answered = answered
        self.waited = waited

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path")
        if path == BEAT_PATH and scope.get("method") == "POST":
            await self._beat(scope, receive, send)
        elif path == WAKE_PATH and scope.get("method") == "GET":
            await self._wake(scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _wake(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_ns = self.clock.monotonic_ns()
        call = _signed(scope)
        if call is None:
            await self.app(scope, receive, send)
            return
        try:
            await take_wake(self.front, call)
        except Exception as error:
            scope.setdefault("state", {})[REFUSED] = error
            await self.app(scope, receive, send)
            return
        await send({"type": "http.response.start", "status": 204, "headers": _NOTHING})
        await send({"type": "http.response.body"})
        self.waited((self.clock.monotonic_ns() - started_ns) / 1e9)

    async def _beat(self, scope: Scope, receive: Receive, send: Send) -> None:
        started_ns = self.clock.monotonic_ns()
        taken: list[Message] = []
        body = await _body(receive, taken)
        call = _signed(scope)
        if body is None or call is None:
            await self.app(scope, _again(taken, receive), send)
            return
        try:
            answer = await take_beat(self.front, call, body)
        except Exception as error:
            scope.setdefault("state", {})[REFUSED] = error
            await self.app(scope, _again(taken, receive), send)
            return
        length = (b"content-length", str(len(answer)).encode())
        head = {"type": "http.response.start", "status": 200, "headers": [*_HEADERS, length]}
        await send(head)
        await send({"type": "http.response.body", "body": answer})
        self.answered((self.clock.monotonic_ns() - started_ns) / 1e9)


async def _body(receive: Receive, taken: list[Message]) -> bytes | None:
    """The whole body; None when it is too long or too slow. What came is added to ``taken``."""
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS_MAX):
            while True:
                message = await receive()
                taken.append(message)
                part = message.get("body", b"")
                size += len(part)
                if size > BEAT_BYTES_MAX:
                    return None
                if not message.get("more_body"):
                    break
    except TimeoutError:
        return None
    return part if len(taken) == 1 else b"".join(one.get("body", b"") for one in taken)


def _signed(scope: Scope) -> SignedCall | None:
    """None when a part of the signature is missing: the route says which."""
    headers: dict[bytes, bytes] = dict(scope["headers"])
    session, number, code = headers.get(_SESSION), headers.get(_SEQ), headers.get(_MAC)
    if session is None or number is None or code is None:
        return None
    path, query = scope["path"], scope["query_string"]
    if query:
        path = f"{path}?{query.decode('latin-1')}"
    texts = (part.decode("latin-1") for part in (session, number, code))
    return SignedCall(scope["method"], path, *texts)


def _again(taken: list[Message], receive: Receive) -> Receive:
    """A ``receive`` that begins with what was taken already."""
    left = list(reversed(taken))

    async def replay() -> Message:
        return left.pop() if left else await receive()

    return replay
