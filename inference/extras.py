"""What few requests bring beside their body: an ``Idempotency-Key``, a trace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import structlog

from inference.answer import Answer
from inference.client import Client, Write
from inference.exchange import Exchange
from inference.gateway import Gateway
from inference.idempotency import Keyed
from inference.idempotency.original import Run, Runs
from inference.links import Link, Links
from inference.meter import Tokens
from inference.route import Replica
from inference.routes import Route
from inference.tracing import Trace, trace_of
from kernel.clock import NS
from kernel.errors import GanglionError
from kernel.wire.gateway import KeyRow

KEY = b"idempotency-key"
PARENT, STATE = b"traceparent", b"tracestate"
CONTINUE = b"x-ganglion-continue"  # ``true``: another worker goes on where one fails
NAMES = frozenset((KEY, PARENT, STATE, CONTINUE))
VALUES_MAX = 32  # of one name; a head has its own limit of bytes


class Running(Protocol):
    """What a connection tells of its client while a request is on its way."""

    def start(self, received: bytes) -> None: ...
    def client_paused(self) -> None: ...
    def client_resumed(self) -> None: ...
    def client_gone(self) -> None: ...


class Extras:
    """Filled by the parser, header by header."""

    __slots__ = ("goes_on", "keys", "parents", "states")

    def __init__(self) -> None:
        self.goes_on = False
        self.keys: list[bytes] = []
        self.parents: list[bytes] = []
        self.states: list[bytes] = []

    def take(self, name: bytes, value: bytes) -> None:
        if name == CONTINUE:
            self.goes_on = value.lower() == b"true"
            return
        values = self.keys if name == KEY else self.parents if name == PARENT else self.states
        if len(values) < VALUES_MAX:
            values.append(value)

    def running(
        self,
        gateway: Gateway,
        client: Client,
        key: KeyRow,
        route: Route,
        request_id: str,
        now_ns: int,
    ) -> Running:
        """In the place of a plain exchange, with the same arguments."""
        trace = None
        if self.parents or gateway.settings.gateway_trace_always:
            trace = trace_of(self.parents, self.states, request_id)
            if trace.told:
                client = Tagged(client, f"\r\ntraceparent: {trace.parent}")

        def form(client: Client) -> Runs:
            from inference.idempotency.forms import KeyedForm  # it needs what needs this

            made = KeyedForm(gateway, client, key, route, request_id, now_ns)
            made.begun = False
            made.onward = trace.onward() if trace is not None else b""
            return made

        def exchange(client: Client) -> Watched:
            made = self._made(gateway, client, key, route, request_id, now_ns)
            made.trace = trace
            return made

        if not self.keys:
            return exchange(client)
        text = self.keys[0] if len(self.keys) == 1 else b""
        run: Run = form if route.form else exchange
        return Keyed(gateway, client, key, route, request_id, now_ns, text, run)

    def _made(self, *given: Any) -> Watched:
        if not self.goes_on:
            return Watched(*given)
        from inference.continued import Continued  # it needs what needs this

        return Continued(*given)


@dataclass(slots=True, eq=False)
class Watched(Exchange):
    """An exchange that passes a trace on, and knows whether a worker began it."""

    begun: bool = False
    trace: Trace | None = None

    @property
    def streams(self) -> bool:
        """It was asked for as a stream."""
        return self._ask is not None and bool(self._ask.stream)

    # ``super()`` without arguments does not work in a dataclass with slots.

    def _approach(self, replica: Replica[Links]) -> None:
        Exchange._approach(self, replica)
        if self.trace is not None:
            first, _, rest = self._request.partition(b"\r\n")
            self._request = b"%b\r\n%b%b" % (first, self.trace.onward(), rest)

    def link_ready(self, link: Link) -> None:
        Exchange.link_ready(self, link)
        if self.residence is not None:
            self.begun = True

    def _close(self, status: int, tokens: Tokens | None = None, now_ns: int = 0) -> None:
        Exchange._close(self, status, tokens, now_ns)
        trace = self.trace
        if trace is not None and trace.sampled:
            spent_ns = self._gateway.now_ns() - self._started_ns
            structlog.get_logger("inference").info(
                "request",
                request_id=self.request_id,
                trace_id=trace.trace_id,
                span_id=trace.span_id,
                route=self._route.name,
                status=status,
                seconds=round(spent_ns / NS, 6),
            )


class Tagged:
    """A client whose answers bear further lines in their head.

    They travel behind the request's id, which stands in the head of every answer: so an answer
    without such lines costs nothing more.
    """

    __slots__ = ("_client", "_lines")

    def __init__(self, client: Client, lines: str) -> None:
        self._client = client
        self._lines = lines

    def whole(self, kind: bytes, content: bytes, request_id: str) -> None:
        self._client.whole(kind, content, request_id + self._lines)

    def begin(self, answer: Answer, content: bytes, request_id: str) -> None:
        self._client.begin(answer, content, request_id + self._lines)

    def piece(self, content: bytes) -> None:
        self._client.piece(content)

    def chunks(self) -> Write | None:
        return self._client.chunks()

    def last(self, content: bytes) -> None:
        self._client.last(content)

    def refuse(self, error: GanglionError, request_id: str) -> None:
        self._client.refuse(error, request_id + self._lines)

    def wants_comments(self) -> bool:
        asked: Callable[[], bool] = getattr(self._client, "wants_comments", bool)
        return asked()

    def cut(self) -> None:
        self._client.cut()
