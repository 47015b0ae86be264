"""Where requests wait: for a worker that is on its way (a deployment that sleeps, or starts), or
for one of those that are all busy.

A request waits with nothing sent, unless its client asked for comments, and without money held,
unless a worker refused it after that. It leaves when a worker can take it, when its client hangs
up, when its time is over, when the gateway stops, or when no worker will come. While a line stands
nobody passes it: to those who come, its workers are shut. Nothing here runs while nobody waits.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from inference import admission, verdict
from inference.answer import Answer
from inference.client import Client, Write
from inference.fair_queue import Entry, FairQueue
from inference.queued import Queued
from inference.route import choose
from inference.routes import Route
from inference.snapshot import Deployment
from kernel.clock import NS
from kernel.errors import (
    GanglionError,
    LimitReached,
    NoCapacity,
    Unauthenticated,
    Unavailable,
    UpstreamFailed,
)

if TYPE_CHECKING:
    from inference.gateway import Gateway
    from inference.links import Links

TICK_SECONDS = 0.005  # how soon a place that is free is seen
LOOK_TICKS = 10  # how seldom each request in line is looked at
COMMENT = b": waiting\n\n"
COMMENT_NS = 5 * NS
TURNS_MAX = 20  # of one request, which workers refused again and again
TURNS_KEPT = 10_000  # requests that are remembered for it, so long after their time:
TURNS_KEPT_NS = 60 * NS
PAUSE_NS = NS // 4  # at least, for a worker that refused for want of room; at most:
PAUSE_NS_MAX = 5 * NS


class Waiter:
    """A request in line. ``again`` with what was ``given`` sends it on its way once more."""

    __slots__ = ("again", "given", "late_ns", "told_ns", "turns", "wait_ns", "who")

    def __init__(self, who: Queued, again: Callable[..., None], given: tuple[Any, ...]):
        self.who = who
        self.again = again
        self.given = given
        self.wait_ns = 0
        self.late_ns = 0  # when its time is over
        self.turns = 0  # how often it had one
        self.told_ns = 0  # when its client had a comment; 0: it wants none


class WaitingRoom:
    """``noticed`` is called when a deployment has its first request in line."""

    def __init__(self, gateway: Gateway) -> None:
        settings = gateway.settings
        self._gateway = gateway
        self._queue: FairQueue[Waiter] = FairQueue(
            settings.gateway_wait_requests_max, settings.gateway_wait_bytes_max
        )
        self._cold_ns = round(settings.gateway_wait_seconds_max * NS)
        self._full_ns = round(settings.gateway_queue_seconds_max * NS)
        self._timer: asyncio.TimerHandle | None = None
        self._ticks = 0
        self._shut: set[str] = set()  # deployments that take nobody who is not in line
        self._turns: OrderedDict[str, tuple[int, int]] = OrderedDict()  # of who may come back
        self.noticed: Callable[[], None] = lambda: None

    def join(
        self,
        who: Queued,
        again: Callable[..., None],
        lacking: GanglionError | None = None,
        *given: Any,
    ) -> None:
        """No worker can take it now: it waits for one, else it fails.

        It waits for one that is on its way, as long as nothing was tried (``lacking`` is what its
        last try failed by) and no money is held; and where all are busy, or say that they are.
        """
        deployment, now_ns = who.deployment, self._gateway.now_ns()
        cold = lacking is None and not who.funded and _comes(deployment)
        if not cold and not self._full(who, lacking):
            who.refuse(lacking or verdict.nobody())
            return
        if self._gateway.draining:
            who.refuse(_going())
            return
        waiter = Waiter(who, again, given)
        waiter.wait_ns = self._cold_ns if cold else self._full_ns
        waiter.late_ns = now_ns + waiter.wait_ns
        if lacking is not None:
            _pause(deployment, who.tried, lacking, now_ns)
        if who.request_id in self._turns:
            waiter.late_ns, waiter.turns = self._turns.pop(who.request_id)
            if waiter.turns > TURNS_MAX or now_ns > waiter.late_ns:
                who.refuse(lacking or verdict.nobody())
                return
        self._stand(
            Entry(deployment.row.deployment_id, who.key.account_id, who.size, now_ns, waiter)
        )

    def _stand(self, entry: Entry[Waiter]) -> None:
        waiter = entry.item
        first = not self._queue.length(entry.place)
        for out in self._queue.add(entry):
            out.item.who.refuse(_crowded())
        if waiter.who.over:
            return
        self._shut.add(entry.place)
        _shut(waiter.who.deployment)
        self._gateway.metrics.count("waited")
        if self._timer is None:
            self._later()
        if first:
            self.noticed()
        if waiter.who.wants_comments:
            waiter.who.wrap(Awake)
            waiter.told_ns = entry.since_ns

    def waiting(self, deployment_id: str) -> int:
        return self._queue.length(deployment_id)

    def gauges(self) -> dict[str, float]:
        return {"waiting": self._queue.count, "waiting_bytes": self._queue.size}

    def _full(self, who: Queued, lacking: GanglionError | None) -> bool:
        """Are its workers busy, and no more than that?"""
        deployment = who.deployment
        if not deployment.row.concurrency or not self._full_ns:
            return False
        ready = [replica for replica in deployment.replicas if replica.ready]
        if lacking is not None:  # what workers say that have no room
            busy = isinstance(lacking, LimitReached | Unavailable)
            return busy and who.repeatable and bool(ready)
        if deployment.row.deployment_id in self._shut:
            return bool(ready)
        return any(replica.in_flight >= replica.bound for replica in ready)

    def _later(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(TICK_SECONDS, self._tick)

    def _tick(self) -> None:
        self._timer = None
        now_ns = self._gateway.now_ns()
        self._ticks += 1
        if self._ticks % LOOK_TICKS == 0 or self._gateway.draining:
            for entry in self._queue.entries():
                self._look(entry, now_ns)
        for place in list(self._shut):
            self._release(place, now_ns)
        if (self._queue.count or self._shut) and self._timer is None:
            self._later()

    def _look(self, entry: Entry[Waiter], now_ns: int) -> None:
        """Should it go on waiting? If so, and its client wants to hear so: say it."""
        waiter = entry.item
        if waiter.who.over:
            self._queue.remove(entry)
        elif self._gateway.draining:
            self._refuse(entry, _going())
        elif now_ns > waiter.late_ns:
            self._refuse(entry, _late(waiter.who.deployment, waiter.wait_ns // NS))
        elif waiter.told_ns and now_ns - waiter.told_ns > COMMENT_NS:
            waiter.told_ns = now_ns
            waiter.who.say(COMMENT)

    def _release(self, place: str, now_ns: int) -> None:
        """Give the workers of a deployment as many as they take, from account after account."""
        deployment = self._gateway.tables.deployments.get(place)
        if deployment is None or not _any_comes(deployment):
            while (entry := self._queue.take(place)) is not None:
                entry.item.who.refuse(verdict.nobody())
        elif self._queue.length(place):
            free = _open(deployment, now_ns)
            while free > 0 and choose(deployment.replicas, now_ns) is not None:
                entry = self._queue.take(place)
                if entry is None:
                    break
                if now_ns > entry.item.late_ns:
                    entry.item.who.refuse(_late(deployment, entry.item.wait_ns // NS))
                    continue
                self._go(entry, now_ns)
                free -= 1
        if self._queue.length(place) and deployment is not None:
            _shut(deployment)
            return
        self._shut.discard(place)
        if deployment is not None:
            _open(deployment, 0)

    def _go(self, entry: Entry[Waiter], now_ns: int) -> None:
        """Its key and its account may have changed while it waited."""
        gateway, who = self._gateway, entry.item.who
        if who.over:
            return
        try:
            if gateway.tables.keys.get(who.key.digest) is None:
                raise Unauthenticated("This API key was revoked.", code="invalid_api_key")
            admission.account_of(gateway.tables, who.key)
        except GanglionError as error:
            who.refuse(error)
            return
        who.anew(now_ns)
        gateway.metrics.went_on(who.route.name, (now_ns - entry.since_ns) / NS)
        self._remember(who.request_id, entry.item, now_ns)
        entry.item.again(*entry.item.given)

    def _remember(self, request_id: str, waiter: Waiter, now_ns: int) -> None:
        """A worker may refuse it, and its time goes on then."""
        turns = self._turns
        turns[request_id] = waiter.late_ns, waiter.turns + 1
        old_ns = now_ns - TURNS_KEPT_NS
        while len(turns) > TURNS_KEPT or next(iter(turns.values()))[0] < old_ns:
            turns.popitem(last=False)

    def _refuse(self, entry: Entry[Waiter], error: GanglionError) -> None:
        if self._queue.remove(entry):
            entry.item.who.refuse(error)


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


def _comes(deployment: Deployment[Links]) -> bool:
    """Is a worker of it on its way, and none there?"""
    return deployment.row.waits and not any(replica.ready for replica in deployment.replicas)


def _any_comes(deployment: Deployment[Links]) -> bool:
    """Is one there, or on its way?"""
    return deployment.row.waits or any(replica.ready for replica in deployment.replicas)


def _shut(deployment: Deployment[Links]) -> None:
    """Who comes finds no worker, and stands in line."""
    for replica in deployment.replicas:
        replica.most = 0


def _open(deployment: Deployment[Links], now_ns: int) -> int:
    """Let each take what it is made for, but those that have just refused something. Returns how
    many requests that is."""
    free = 0
    for replica in deployment.replicas:
        if now_ns and replica.full_until_ns > now_ns:
            replica.most = 0
        else:
            replica.most = replica.bound
            free += max(replica.bound - replica.in_flight, 0) if replica.ready else 0
    return free


def _pause(
    deployment: Deployment[Links], tried: tuple[str, ...], lacking: GanglionError, now_ns: int
) -> None:
    """These have no room: they are asked again after what they said, within limits."""
    pause_ns = min(max((lacking.retry_after or 0) * NS, PAUSE_NS), PAUSE_NS_MAX)
    for replica in deployment.replicas:
        if replica.row.replica_id in tried:
            replica.full_until_ns = now_ns + pause_ns


def _going() -> GanglionError:
    return Unavailable("This gateway is shutting down; try again.", retry_after=1)


def _late(deployment: Deployment[Links], seconds: int) -> GanglionError:
    busy = any(replica.ready for replica in deployment.replicas)
    what = "had room" if busy else "was ready"
    return NoCapacity(
        f"No worker of this model {what} within {seconds} s; try again.",
        code="wait_over",
        retry_after=10,
    )


def _crowded() -> GanglionError:
    return NoCapacity(
        "As many requests as may wait for a worker wait already; try again later.",
        code="queue_full",
        retry_after=5,
    )


def _not_streamed() -> GanglionError:
    return UpstreamFailed("The model worker did not answer with a stream.")
