"""Where requests wait for a worker that is on its way: a deployment that sleeps, or starts.

A request waits without money held and with nothing sent, unless its client asked for comments. It
leaves when a worker can take it, when its client hangs up, when its time is over, when the gateway
stops, or when no worker will come. Nothing here runs while nobody waits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from inference import admission, verdict
from inference.answer import Answer
from inference.client import Client, Write
from inference.fair_queue import Entry, FairQueue
from inference.route import choose
from inference.routes import Route
from inference.snapshot import Deployment
from kernel.clock import NS
from kernel.errors import GanglionError, NoCapacity, Unauthenticated, Unavailable, UpstreamFailed

if TYPE_CHECKING:
    from inference.exchange import Exchange
    from inference.gateway import Gateway
    from inference.links import Links

TICK_SECONDS = 0.05
COMMENT = b": waiting\n\n"
COMMENT_NS = 5 * NS
AT_ONCE = 2  # times what a worker is made for: it is busy, and others find their place in line


class Waiter:
    """A request in line. ``again`` with what was ``given`` sends it on its way once more."""

    __slots__ = ("again", "exchange", "given", "told_ns")

    def __init__(self, exchange: Exchange, again: Callable[..., None], given: tuple[Any, ...]):
        self.exchange = exchange
        self.again = again
        self.given = given
        self.told_ns = 0  # when its client had a comment; 0: it wants none


class WaitingRoom:
    """``noticed`` is called when a deployment has its first request in line."""

    def __init__(self, gateway: Gateway) -> None:
        settings = gateway.settings
        self._gateway = gateway
        self._queue: FairQueue[Waiter] = FairQueue(
            settings.gateway_wait_requests_max, settings.gateway_wait_bytes_max
        )
        self._wait_ns = round(settings.gateway_wait_seconds_max * NS)
        self._timer: asyncio.TimerHandle | None = None
        self.noticed: Callable[[], None] = lambda: None

    def join(
        self,
        exchange: Exchange,
        again: Callable[..., None],
        lacking: GanglionError | None = None,
        *given: Any,
    ) -> None:
        """No worker can take it now: it waits for one that is on its way, else it fails.

        With ``lacking`` (what its last try failed by), or with money held, it does not wait.
        """
        deployment = exchange._deployment
        assert deployment is not None, "it was resolved"
        if lacking is not None or exchange._payment is not None or not _comes(deployment):
            exchange._fail(lacking or verdict.nobody())
            return
        if self._gateway.draining:
            exchange._fail(_going())
            return
        waiter = Waiter(exchange, again, given)
        entry = Entry(
            deployment.row.deployment_id,
            exchange._key.account_id,
            len(exchange._body),
            self._gateway.now_ns(),
            waiter,
        )
        first = not self._queue.length(entry.place)
        for out in self._queue.add(entry):
            out.item.exchange._fail(_full())
        if exchange._over:
            return
        self._gateway.metrics.count("waited")
        if self._timer is None:
            self._later()
        if first:
            self.noticed()
        if _streams(exchange) and _wants_comments(exchange._client):
            exchange._client = Awake(exchange._client, exchange._route, exchange.request_id)
            waiter.told_ns = entry.since_ns

    def waiting(self, deployment_id: str) -> int:
        return self._queue.length(deployment_id)

    def gauges(self) -> dict[str, float]:
        return {"waiting": self._queue.count, "waiting_bytes": self._queue.size}

    def _later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now_ns = self._gateway.now_ns()
        for entry in self._queue.entries():
            self._look(entry, now_ns)
        for place in self._queue.places():
            self._release(place)
        if self._queue.count and self._timer is None:
            self._later()

    def _look(self, entry: Entry[Waiter], now_ns: int) -> None:
        """Should it go on waiting? If so, and its client wants to hear so: say it."""
        waiter, late_ns = entry.item, entry.since_ns + self._wait_ns
        if waiter.exchange._over:
            self._queue.remove(entry)
        elif self._gateway.draining:
            self._refuse(entry, _going())
        elif now_ns > late_ns:
            self._refuse(entry, _late(self._wait_ns // NS))
        elif waiter.told_ns and now_ns - waiter.told_ns > COMMENT_NS:
            waiter.told_ns = now_ns
            waiter.exchange._client.piece(COMMENT)

    def _release(self, place: str) -> None:
        """Give the workers of a deployment as many as they take, from account after account."""
        gateway = self._gateway
        deployment = gateway.tables.deployments.get(place)
        if deployment is None or not _comes(deployment, among_ready=True):
            while (entry := self._queue.take(place)) is not None:
                entry.item.exchange._fail(verdict.nobody())
            return
        free = _room(deployment)
        while free > 0 and choose(deployment.replicas, gateway.tick_ns) is not None:
            entry = self._queue.take(place)
            if entry is None:
                return
            self._go(entry)
            free -= 1

    def _go(self, entry: Entry[Waiter]) -> None:
        """Its key and its account may have changed while it waited."""
        gateway, exchange = self._gateway, entry.item.exchange
        if exchange._over:
            return
        try:
            if gateway.tables.keys.get(exchange._key.digest) is None:
                raise Unauthenticated("This API key was revoked.", code="invalid_api_key")
            admission.account_of(gateway.tables, exchange._key)
        except GanglionError as error:
            exchange._fail(error)
            return
        exchange._started_ns = gateway.now_ns()  # how fast a worker is, is measured from here
        entry.item.again(*entry.item.given)

    def _refuse(self, entry: Entry[Waiter], error: GanglionError) -> None:
        if self._queue.remove(entry):
            entry.item.exchange._fail(error)


class Awake(Client):
    """A client that has had the head of its stream, and comments, before any answer began."""

    def __init__(self, client: Client, route: Route, request_id: str) -> None:
        self._client = client
        self._route = route
        self._failed = False
        preface = Answer(route, show_usage=False)
        preface.kind = b"text/event-stream"
        preface.stream = route.dialect.stream(show_usage=False)
        client.begin(preface, COMMENT, request_id)

    def whole(self, kind: bytes, content: bytes, request_id: str) -> None:
        self.refuse(_not_streamed(), request_id)

    def begin(self, answer: Answer, content: bytes, request_id: str) -> None:
        self._failed = answer.stream is None
        if content and not self._failed:
            self._client.piece(content)

    def piece(self, content: bytes) -> None:
        if not self._failed:
            self._client.piece(content)

    def chunks(self) -> Write | None:
        return None if self._failed else self._client.chunks()

    def last(self, content: bytes) -> None:
        if self._failed:
            content = self._route.dialect.frame_of(_not_streamed())
        self._client.last(content)

    def refuse(self, error: GanglionError, request_id: str) -> None:
        self._client.last(self._route.dialect.frame_of(error))

    def cut(self) -> None:
        self._client.cut()


def _comes(deployment: Deployment[Links], *, among_ready: bool = False) -> bool:
    """Is a worker of it on its way? ``among_ready``: or there already."""
    if not deployment.row.waits:
        return False
    return among_ready or not any(replica.ready for replica in deployment.replicas)


def _room(deployment: Deployment[Links]) -> int:
    """How many requests its workers take now; one at least, as the line has to move."""
    most = deployment.row.concurrency * AT_ONCE or 1 << 30
    return max(sum(most - one.in_flight for one in deployment.replicas if one.ready), 1)


def _streams(exchange: Exchange) -> bool:
    ask = exchange._ask
    return ask is not None and bool(ask.stream) and not exchange._route.binary


def _wants_comments(client: Client) -> bool:
    """Of clients, only connections can be asked to."""
    asked: Callable[[], bool] = getattr(client, "wants_comments", bool)
    return asked()


def _going() -> GanglionError:
    return Unavailable("This gateway is shutting down; try again.", retry_after=1)


def _late(seconds: int) -> GanglionError:
    return NoCapacity(
        f"No worker of this model was ready within {seconds} s; try again.",
        code="wait_over",
        retry_after=10,
    )


def _full() -> GanglionError:
    return NoCapacity(
        "As many requests as may wait for a worker wait already; try again later.",
        code="queue_full",
        retry_after=5,
    )


def _not_streamed() -> GanglionError:
    return UpstreamFailed("The model worker did not answer with a stream.")
