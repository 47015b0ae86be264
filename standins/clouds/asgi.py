"""An emulated cloud as an ASGI app, for tests and simulations in process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from standins.clouds.shell import BODY_BYTES_MAX, Answer, Dialect, Request, Shell, with_server

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class App:
    """The ASGI app. A cut raises ``ConnectionResetError`` out of it; silence waits by the
    world's clock. ``shell`` is for fronts that wait and cut otherwise."""

    def __init__(self, dialect: Dialect) -> None:
        self.shell = Shell(dialect)
        self.world = dialect.world

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"an emulated cloud speaks HTTP, not {scope['type']}")
        body = await _body(receive)
        if len(body) > BODY_BYTES_MAX:
            await _put(send, Answer(413, b"", "text/plain"))
            return
        headers = {
            name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        query = parse_qs(scope.get("query_string", b"").decode(), keep_blank_values=True)
        reply = self.shell.respond(Request(scope["method"], scope["path"], query, headers, body))
        if reply.wait_seconds:
            await self.world.clock.sleep(reply.wait_seconds)
        if reply.answer is None:
            raise ConnectionResetError("cut, as the fault plan says")
        await _put(send, reply.answer, half=reply.half)
        if reply.half:
            raise ConnectionResetError("cut in the middle, as the fault plan says")


async def _body(receive: Receive) -> bytes:
    parts, size = [], 0
    while size <= BODY_BYTES_MAX:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if not message.get("more_body", False):
            break
    return b"".join(parts)


async def _put(send: Send, answer: Answer, *, half: bool = False) -> None:
    answer = with_server(answer)
    headers = [(b"content-type", answer.content_type.encode())] if answer.content_type else []
    headers += [(name.encode(), value.encode("latin-1")) for name, value in answer.headers]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    body = answer.body[: len(answer.body) // 2] if half else answer.body
    await send({"type": "http.response.body", "body": body, "more_body": half})
