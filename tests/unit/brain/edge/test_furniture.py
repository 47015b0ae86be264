"""The outermost layer alone, around small apps: bodies that trickle, apps that break."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
from starlette.types import Message, Receive, Scope, Send

from brain.edge.furniture import Furniture
from brain.edge.metrics import Metrics
from kernel.clock import SystemClock
from kernel.ids import SystemIds


class Wire:
    """The server's side: hands out ``chunks``, then waits for ever; keeps what was sent."""

    def __init__(self, *chunks: bytes, more: bool = False) -> None:
        self.messages: list[Message] = [
            {"type": "http.request", "body": chunk, "more_body": more or number + 1 < len(chunks)}
            for number, chunk in enumerate(chunks)
        ]
        self.sent: list[Message] = []

    async def receive(self) -> Message:
        if self.messages:
            return self.messages.pop(0)
        await asyncio.Event().wait()
        raise AssertionError("never reached")

    async def send(self, message: Message) -> None:
        self.sent.append(message)

    @property
    def status(self) -> int:
        return int(self.sent[0]["status"])

    def body(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads(b"".join(m.get("body", b"") for m in self.sent))
        return parsed


async def _visit(app: Any, wire: Wire, *headers: tuple[bytes, bytes], seconds: float = 30) -> None:
    clock = SystemClock()
    house = Furniture(
        app,
        clock=clock,
        ids=SystemIds(clock),
        metrics=Metrics(),
        https_only=True,
        body_seconds_max=seconds,
    )
    scope = {"type": "http", "method": "POST", "path": "/x", "headers": list(headers)}
    await house(scope, wire.receive, wire.send)


async def _read_all(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await _say(send)


async def _say(send: Send) -> None:
    headers = [(b"cache-control", b"max-age=60")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"{}"})


async def _break(scope: Scope, receive: Receive, send: Send) -> None:
    raise RuntimeError("private")


async def _break_late(scope: Scope, receive: Receive, send: Send) -> None:
    await _say(send)
    raise RuntimeError("private")


async def test_an_answers_own_header_stands_and_https_is_asked_for() -> None:
    wire = Wire(b"x")
    await _visit(_read_all, wire)
    headers = dict(wire.sent[0]["headers"])
    assert headers[b"cache-control"] == b"max-age=60"
    assert b"max-age" in headers[b"strict-transport-security"]


async def test_an_app_that_breaks_is_a_500() -> None:
    wire = Wire(b"x")
    await _visit(_break, wire)
    assert wire.status == 500
    assert "private" not in str(wire.body())


async def test_an_app_that_breaks_after_its_answer_began_sends_nothing_twice() -> None:
    wire = Wire(b"x")
    await _visit(_break_late, wire)
    assert [message["type"] for message in wire.sent].count("http.response.start") == 1


async def test_a_declared_length_over_the_limit_is_refused_unread() -> None:
    wire = Wire(b"x")
    await _visit(_break, wire, (b"content-length", b"1048577"))
    assert (wire.status, wire.body()["code"]) == (413, "too_large")
    assert wire.messages


async def test_a_body_that_never_ends_is_given_up() -> None:
    wire = Wire(b"x", more=True)
    await _visit(_read_all, wire, seconds=0.05)
    assert wire.status == 408


async def test_waiting_for_the_caller_to_leave_has_no_deadline() -> None:
    left: list[Message] = []

    async def listen(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(receive(), 0.1)
        left.append({})
        await _say(send)

    wire = Wire(b"x")
    await _visit(listen, wire, seconds=0.01)
    assert (wire.status, len(left)) == (200, 1)
