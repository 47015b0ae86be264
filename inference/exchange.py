"""One request on its way: admitted, funded, sent to a worker, answered, counted.

Callbacks only: the client's connection, the worker's link, the purse and the slow beat each call
in. Whatever happens, it ends exactly once, in ``_over``; and what a worker was given is spooled
before the client has its last byte.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from inference import admission, body, errors, verdict
from inference.answer import Answer, State
from inference.gateway import Gateway
from inference.links import Link, Links, Lost
from inference.meter import Residence
from inference.route import Replica, choose
from inference.routes import Route
from inference.slices import Hold, Waiter, out_of_credit
from inference.snapshot import Account, Deployment
from inference.tab import Tab
from kernel.clock import NS
from kernel.errors import GanglionError, OutOfCredit, Unavailable, UpstreamTimeout
from kernel.wire.gateway import KeyRow, SegmentEnd

NEVER = 1 << 62
NO_ANSWER = Answer(show_usage=False)
CLIENT_GONE = 499
STALE_NS = 5 * NS  # a kept connection that closes later than this after a request was not idle
LOST_REASONS = {
    Lost.REFUSED: "it cannot be reached",
    Lost.STALE: "a kept connection was closed",
    Lost.CLOSED: "the connection closed early",
    Lost.GARBLED: "what came is not HTTP",
}


class Client(Protocol):
    """Whoever sent the request. Exactly one of ``whole``, ``last``, ``refuse``, ``cut`` ends it."""

    def whole(self, answer: Answer, content: bytes, request_id: str) -> None: ...
    def begin(self, answer: Answer, content: bytes, request_id: str) -> None: ...
    def piece(self, content: bytes) -> None: ...
    def last(self, content: bytes) -> None: ...
    def refuse(self, error: GanglionError, request_id: str) -> None: ...
    def cut(self) -> None: ...


@dataclass(slots=True, eq=False)
class Exchange:
    """``start`` it once with the whole request body."""

    _gateway: Gateway
    _client: Client
    _key: KeyRow
    _route: Route
    request_id: str
    _started_ns: int
    residence: Residence | None = None
    _account: Account | None = None
    _answer: Answer = NO_ANSWER
    _ask: body.Ask | None = None
    _attempt: int = -1
    _deadline_ns: int = NEVER
    _deployment: Deployment[Links] | None = None
    _flowing: bool = False  # bytes of an answer went to the client
    _heard: bool = False  # the worker sent something since the last look
    _link: Link | None = None
    _over: bool = False
    _paused_ns: int = 0  # since when the client reads too slowly
    _replica: Replica[Links] | None = None
    _request: bytes = b""
    _tab: Tab[Links] | None = None
    _tried: list[str] = field(default_factory=list)
    _waiter: Waiter | None = None

    def start(self, received: bytes) -> None:
        """Admit the request and send it on its way, or answer with the error."""
        gateway = self._gateway
        gateway.exchanges.add(self)
        try:
            ask = self._ask = body.read(received)
            account = self._account = admission.account_of(gateway.tables, self._key)
            deployment = admission.resolve(gateway.tables, self._key, ask.model)
            self._deployment = deployment
        except GanglionError as error:
            self._fail(error)
            return
        if deployment.row.pool:
            self._fund(account, deployment, ask)
        else:
            self._dispatch()

    # The purse.

    def _fund(self, account: Account, deployment: Deployment[Links], ask: body.Ask) -> None:
        now_ns = self._gateway.now_ns()
        replica = choose(deployment.replicas, now_ns)
        if replica is None:
            self._fail(verdict.nobody())
            return
        need = admission.hold_nano(deployment.row, replica, self._key, ask)
        purse = account.purse
        hold = purse.take(need, now_ns)
        if hold is not None:
            self._funded(hold)
        elif purse.refused(now_ns):
            self._fail(out_of_credit())
        else:
            self._waiter = Waiter(need, now_ns + self._gateway.slice_wait_ns, self._funded)
            purse.waiters.append(self._waiter)
            self._gateway.funding.ask(account)

    def _funded(self, answer: Hold | GanglionError) -> None:
        self._waiter = None
        if isinstance(answer, GanglionError):
            self._fail(answer)
            return
        assert self._deployment is not None
        self._tab = Tab(self.request_id, self._deployment.row, answer)
        self._dispatch()

    # The worker.

    def _dispatch(self, lacking: GanglionError | None = None) -> None:
        """Give the request to the best replica that has not had it yet, else fail."""
        deployment = self._deployment
        assert deployment is not None
        # The coarse clock will do: it is only compared with a breaker's rest.
        replica = choose(deployment.replicas, self._gateway.tick_ns, self._tried)
        if replica is None:
            self._fail(lacking or verdict.nobody())
            return
        self._tried.append(replica.row.replica_id)
        if replica.breaker.failures:
            replica.breaker.starts()
        self._approach(replica)
        replica.links.borrow(self)

    def _approach(self, replica: Replica[Links]) -> None:
        """A try begins; a connection is still to be had."""
        ask, account, deployment = self._ask, self._account, self._deployment
        assert ask is not None
        assert account is not None
        assert deployment is not None
        self._replica = replica
        self._attempt += 1
        replica.in_flight += 1
        self._answer = Answer(show_usage=ask.usage_asked)
        salt = (account.row.cache_salt or account.row.account_id) if deployment.row.pool else ""
        content = body.upstream(ask, model=replica.row.upstream_model, cache_salt=salt)
        self._request = (
            b"POST %b HTTP/1.1\r\nhost: worker\r\ncontent-type: application/json\r\n"
            b"x-request-id: %b\r\ncontent-length: %d\r\n\r\n%b"
            % (self._route.path, self.request_id.encode(), len(content), content)
        )

    def link_ready(self, link: Link) -> None:
        """A connection stands: the request is resident from here on."""
        replica, gateway, ask = self._replica, self._gateway, self._ask
        if replica is None or ask is None:  # the client left while we dialled
            link.drop()
            return
        self._link = link
        now_ns = gateway.now_ns()
        tab = self._tab
        residence = Residence(
            gateway.target(replica, self._key, ask.model, self._route.name),
            self.request_id,
            attempt=self._attempt,
            start_ns=now_ns,
            day=gateway.day,
            weight=ask.weight,
            slice_id=(tab.hold.slice.slice_id or None) if tab is not None else None,
        )
        try:
            gateway.spool.opened(residence)
        except GanglionError as error:
            link.drop()
            self._leave(SegmentEnd.FAILED, error.status)
            self._fail(error)
            return
        self.residence = residence
        if tab is not None:
            tab.enter(replica, now_ns, ask.weight)
        self._deadline_ns = now_ns + gateway.first_byte_ns
        link.send(self._request)

    def answer_head(self, status: int, kind: bytes, length: int, retry_after: bytes) -> None:
        self._heard = True
        self._answer.head(status, kind, length, retry_after)

    def answer_body(self, received: bytes) -> None:
        self._heard = True
        content = self._answer.feed(received)
        state = self._answer.state
        if state is State.GOING:
            if content:
                self._send(content)
        elif state is not State.WAITING:
            self._judge(content)

    def answer_end(self) -> None:
        """The worker's answer is whole as far as its framing goes; its link is free again."""
        self._link = None
        content = self._answer.end()
        if self._answer.state is State.COMPLETE:
            self._complete(content)
        else:
            self._judge(content)

    def answer_lost(self, why: Lost) -> None:
        """The connection ended first, or never stood."""
        self._link = None
        replica, residence = self._replica, self.residence
        if replica is None:
            return
        age_ns = self._gateway.now_ns() - residence.start_ns if residence else NEVER
        if why is Lost.STALE and age_ns < STALE_NS:
            self._leave(SegmentEnd.FAILED, 0)
            self._approach(replica)
            replica.links.dial(self)
            return
        self._answer.lost(LOST_REASONS[why])
        self._judge(b"")

    def _send(self, content: bytes) -> None:
        """Pass on content; the first of it decides that this worker's answer is the one."""
        if self._flowing:
            self._client.piece(content)
            return
        self._flowing = True
        gateway = self._gateway
        gateway.metrics.began(self._route.name, (gateway.now_ns() - self._started_ns) / NS)
        self._client.begin(self._answer, content, self.request_id)

    def _judge(self, content: bytes) -> None:
        """The worker's part is over, one way or another."""
        answer = self._answer
        if answer.state is State.COMPLETE:
            self._complete(content)
            return
        if content:
            self._send(content)
        found = verdict.judge(answer)
        gateway = self._gateway
        gateway.metrics.count("worker_failed" if found.healthy is False else "worker_refused")
        self._settle_breaker(healthy=found.healthy)
        self._drop_link()
        self._leave(found.end, answer.status or found.error.status)
        tried_enough = len(self._tried) >= gateway.settings.gateway_tries_max
        if self._flowing or not found.again or tried_enough:
            self._fail(found.error)
        else:
            gateway.metrics.count("failover")
            self._dispatch(found.error)

    def _complete(self, content: bytes) -> None:
        answer, link = self._answer, self._link
        replica = self._replica
        if replica is not None:
            if replica.breaker.failures:
                replica.breaker.succeeded()
            if link is not None:
                self._link = None
                replica.links.await_end(link)
        self._leave(SegmentEnd.DONE, 200)
        if self._flowing:
            self._client.last(content)
        elif answer.stream is None:
            self._client.whole(answer, content, self.request_id)
        else:
            self._client.begin(answer, content, self.request_id)
            self._client.last(b"")
        self._close(200)

    def _settle_breaker(self, *, healthy: bool | None) -> None:
        replica = self._replica
        if replica is None:
            return
        if healthy is None:
            replica.breaker.undecided()
        elif healthy:
            replica.breaker.succeeded()
        else:
            replica.breaker.failed(self._gateway.now_ns())

    # The client.

    def client_paused(self) -> None:
        """The client reads slower than the worker writes."""
        self._paused_ns = self._gateway.tick_ns
        if self._link is not None:
            self._link.pause()

    def client_resumed(self) -> None:
        self._paused_ns = 0
        if self._link is not None:
            self._link.resume()

    def client_gone(self) -> None:
        """The client hung up: the worker is to stop at once."""
        if self._over:
            return
        self._gateway.metrics.count("client_gone")
        if self._waiter is not None and self._account is not None:
            self._account.purse.leave(self._waiter)
        self._abort(SegmentEnd.ABORTED, CLIENT_GONE)
        self._close(CLIENT_GONE)

    def shut_down(self) -> None:
        """The gateway stops and this request took longer than that may wait."""
        self._abort(SegmentEnd.FAILED, 503)
        self._fail(Unavailable("The gateway was shut down before the answer was complete."))

    # The slow beat.

    def watch(self, now_ns: int, *, cut: bool) -> None:
        """Deadlines, and the periodic cut of the meter."""
        if self._replica is not None and self.residence is None:
            return  # dialling has a limit of its own
        if self._paused_ns:
            if now_ns - self._paused_ns > self._gateway.idle_ns:
                self._client.cut()
                self.client_gone()
            return
        if self._heard and self._flowing:
            self._heard = False
            self._deadline_ns = now_ns + self._gateway.idle_ns
        if now_ns > self._deadline_ns or now_ns - self._started_ns > self._gateway.total_ns:
            self._too_late()
            return
        if cut and self.residence is not None:
            self._cut(self.residence, now_ns)

    def _too_late(self) -> None:
        """The worker took too long: to begin, between pieces, or in all."""
        if self._replica is None:
            self._fail(UpstreamTimeout("The request took too long."))
            return
        self._answer.lost(verdict.TOO_SLOW)
        self._judge(b"")

    def _cut(self, residence: Residence, now_ns: int) -> None:
        gateway = self._gateway
        residence.cut(now_ns, self._answer.tokens()[1])
        gateway.spool.finished(residence)
        residence.go_on(gateway.day)
        if self._tab is None:
            return
        funded = self._tab.cut(now_ns)
        limit = self._key.cost_limit_nano
        if limit and self._tab.cost >= limit:
            self._stop(OutOfCredit("This request reached the cost limit of its key."))
        elif not funded and self._account is not None and self._waiter is None:
            need = self._tab.next_piece()
            self._waiter = Waiter(need, now_ns + gateway.slice_wait_ns, self._topped_up)
            self._account.purse.waiters.append(self._waiter)
            gateway.funding.ask(self._account)

    def _topped_up(self, answer: Hold | GanglionError) -> None:
        """The running request's next piece is paid for from another slice, or it stops."""
        self._waiter = None
        if self._over or self._tab is None:
            return
        if isinstance(answer, GanglionError):
            self._stop(answer)
            return
        self._tab.move(answer, self._gateway.now_ns())
        if self.residence is not None:
            self.residence.slice_id = answer.slice.slice_id or None

    def _stop(self, error: GanglionError) -> None:
        """End a running request for want of money."""
        self._abort(SegmentEnd.ABORTED, error.status)
        self._fail(error)

    # Endings.

    def _abort(self, end: SegmentEnd, status: int) -> None:
        self._drop_link()
        self._settle_breaker(healthy=None)
        self._leave(end, status)

    def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.drop()

    def _leave(self, end: SegmentEnd, status: int) -> None:
        """The request is no longer with a worker: count what it was given."""
        replica, residence = self._replica, self.residence
        self._replica = self.residence = None
        if replica is not None:
            replica.in_flight -= 1
        if residence is None:
            return
        gateway = self._gateway
        now_ns = gateway.now_ns()
        residence.finish(now_ns, end, status, self._answer.tokens())
        gateway.spool.finished(residence)
        if self._tab is not None:
            self._tab.leave(now_ns)

    def _fail(self, error: GanglionError) -> None:
        """Answer with an error in the shape that the client can still take."""
        if not self._flowing:
            self._client.refuse(error, self.request_id)
        elif self._answer.stream is not None:
            self._gateway.metrics.count("stream_broken")
            self._client.last(errors.frame_of(error))
        else:
            self._client.cut()
        self._close(errors.status_of(error))

    def _close(self, status: int) -> None:
        self._over = True
        gateway = self._gateway
        now_ns = gateway.now_ns()
        gateway.exchanges.discard(self)
        if self._tab is not None:
            tokens = self._answer.tokens() if status == 200 else None
            self._tab.close(now_ns, tokens)
            self._tab = None
        gateway.metrics.finished(self._route.name, status, (now_ns - self._started_ns) / NS)
