"""Between an emulated processor and the wire: in process (ASGI) for tests, or on a port.

A processor is a ``Desk``: it turns a request into a reply and waits for nothing. The front does
the waiting and the cutting, and sends what the processor tells others by itself.
"""

from __future__ import annotations

import asyncio
import json
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qs, unquote

import httpx

from kernel.clock import Clock
from standins.clouds.shell import BODY_BYTES_MAX, Answer, Reply, Request, as_json, with_server
from standins.worker.server import Connection, Cut, Exchange

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
TELL_SECONDS_MAX = 10.0
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class Message:
    """What the processor sends by itself: a callback or a webhook."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes


class Desk(Protocol):
    """One emulated processor without its front."""

    clock: Clock

    def respond(self, request: Request) -> Reply: ...

    def outgoing(self) -> list[Message]:
        """What is to be sent by now; each is given out once."""
        ...


class App:
    """The ASGI app over a desk. A cut raises ``ConnectionResetError`` out of it."""

    def __init__(self, desk: Desk) -> None:
        self.desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            raise ValueError(f"an emulated processor speaks HTTP, not {scope['type']}")
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False) or len(body) > BODY_BYTES_MAX:
                break
        headers = {
            name.decode().lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        query = parse_qs(scope.get("query_string", b"").decode(), keep_blank_values=True)
        reply = self.desk.respond(Request(scope["method"], scope["path"], query, headers, body))
        if reply.wait_seconds:
            await self.desk.clock.sleep(reply.wait_seconds)
        if reply.answer is None:
            raise ConnectionResetError("cut, as the fault says")
        answer = with_server(reply.answer)
        named = [(b"content-type", answer.content_type.encode())] if answer.content_type else []
        named += [(n.encode(), v.encode("latin-1")) for n, v in answer.headers]
        named.append((b"content-length", str(len(answer.body)).encode()))
        await send({"type": "http.response.start", "status": answer.status, "headers": named})
        await send({"type": "http.response.body", "body": answer.body})


async def serve(desk: Desk, name: str, host: str, port: int) -> int:
    """Serve until SIGTERM or SIGINT; one JSON line when it listens. Returns the exit code."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    try:
        door = socket.create_server((host, port), backlog=256)
    except OSError as wrong:
        _say(event="failed", reason=f"cannot listen on {host}:{port}: {wrong}")
        return 1
    server = await asyncio.start_server(Doors(desk).connected, sock=door)
    url = f"http://{host}:{door.getsockname()[1]}"
    _say(event="ready", stand_in=name, host=host, port=door.getsockname()[1], url=url)
    async with httpx.AsyncClient(timeout=TELL_SECONDS_MAX) as client:
        while not stop.is_set():
            await tell(desk, client)
            waiting = asyncio.ensure_future(stop.wait())
            await asyncio.wait({waiting}, timeout=LOOK_SECONDS)
            waiting.cancel()
    server.close()
    _say(event="stopped")
    return 0


async def tell(desk: Desk, client: httpx.AsyncClient) -> int:
    """Send what the desk has to say, one attempt each; how many were taken."""
    taken = 0
    for message in desk.outgoing():
        try:
            answer = await client.request(
                message.method, message.url, headers=message.headers, content=message.body
            )
            taken += answer.is_success
        except (httpx.HTTPError, httpx.InvalidURL) as lost:
            _say(event="not_told", url=message.url[:200], error=type(lost).__name__)
    return taken


class Doors:
    """Connections from outside."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await Connection(reader, writer, self._exchange, BODY_BYTES_MAX).serve()

    async def _exchange(self, exchange: Exchange) -> None:
        asked = exchange.request
        query = parse_qs(asked.query, keep_blank_values=True)
        reply = self._desk.respond(
            Request(asked.method, unquote(asked.path), query, asked.headers, asked.body)
        )
        if reply.wait_seconds:
            await self._desk.clock.sleep(reply.wait_seconds)
        if reply.answer is None:
            raise Cut
        answer = reply.answer
        headers = (*answer.headers, ("content-length", str(len(answer.body))))
        await exchange.begin(answer.status, answer.content_type, headers)
        await exchange.send(answer.body)
        await exchange.end()


@dataclass
class Fault:
    """What the next ``times`` calls of a kind meet. ``kind``: ``before`` (nothing is done) or
    ``after`` (it is done, the answer is lost); ``status`` 0: the connection is cut."""

    call: str
    kind: str = "after"
    status: int = 0
    times: int = 1
    body: str = ""


class Faults:
    """A queue of faults, set over ``/stand-in/faults`` or by tests."""

    def __init__(self) -> None:
        self._queue: list[Fault] = []

    def add(self, *faults: Fault) -> None:
        self._queue += faults

    def clear(self) -> None:
        self._queue.clear()

    def take(self, call: str) -> Fault | None:
        for fault in self._queue:
            if fault.call in (call, "*") and fault.times > 0:
                fault.times -= 1
                return fault
        return None

    def met(self, call: str, work: Callable[[], Answer]) -> Reply:
        """Do the work, or what a fault makes of it."""
        fault = self.take(call)
        if fault is None:
            return Reply(work())
        if fault.kind == "after":
            work()
        if not fault.status:
            return Reply(None)
        return Reply(Answer(fault.status, fault.body.encode(), "text/html"))

    def read(self, body: bytes) -> Answer:
        """POST of a list of faults."""
        try:
            self.add(*(Fault(**one) for one in json.loads(body)))
        except (TypeError, ValueError) as wrong:
            return as_json({"detail": str(wrong)[:200]}, 400)
        return as_json({"faults": [vars(one) for one in self._queue if one.times > 0]})


def _say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
