"""The emulated Stripe as an ASGI app, for tests and simulations in process."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from urllib.parse import parse_qs

from standins.clouds.shell import BODY_BYTES_MAX, Answer, Request
from standins.payments.stripe.hooks import Posting
from standins.payments.stripe.shell import Shell

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
Post = Callable[[Posting], Awaitable[int | None]]
ROUNDS_MAX = 100


class App:
    """The ASGI app. A cut raises ``ConnectionResetError`` out of it; silence waits by the book's
    clock. ``post`` sends a webhook and returns the status, None where nobody answers."""

    def __init__(self, shell: Shell, post: Post | None = None) -> None:
        self.shell = shell
        self.book = shell.book
        self.post = post

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"an emulated Stripe speaks HTTP, not {scope['type']}")
        body = await _body(receive)
        headers = {
            name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        query = parse_qs(scope.get("query_string", b"").decode(), keep_blank_values=True)
        answer = await self.respond(Request(scope["method"], scope["path"], query, headers, body))
        if answer is None:
            raise ConnectionResetError("cut, as the fault plan says")
        await _put(send, answer)

    async def respond(self, request: Request) -> Answer | None:
        """The answer, after its webhooks and its silence where those come first."""
        if len(request.body) > BODY_BYTES_MAX:
            return Answer(413, b"", "text/plain")
        reply = self.shell.respond(request)
        try:
            if reply.hooks_first:
                await self.deliver()
            if reply.wait_seconds:
                await self.book.clock.sleep(reply.wait_seconds)
        finally:
            reply.out()
        return reply.answer

    async def deliver(self) -> int:
        """Post every webhook that is due; returns how many were."""
        posted = 0
        self.book.advance()
        if self.post is None:
            return 0
        for _ in range(ROUNDS_MAX):
            due = self.shell.hooks.due()
            for delivery in due:
                posting = self.shell.hooks.posting(delivery)
                if posting is not None:
                    self.shell.hooks.done(delivery, await self.post(posting))
                    posted += 1
            if not due:
                break
        return posted


async def _body(receive: Receive) -> bytes:
    parts, size = [], 0
    while size <= BODY_BYTES_MAX:
        message = await receive()
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if not message.get("more_body", False):
            break
    return b"".join(parts)


async def _put(send: Send, answer: Answer) -> None:
    headers = [(b"content-type", answer.content_type.encode())]
    headers += [(name.encode(), value.encode("latin-1")) for name, value in answer.headers]
    headers.append((b"content-length", str(len(answer.body)).encode()))
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
