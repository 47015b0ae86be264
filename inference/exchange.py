"""One request on its way: admitted, funded, sent to a worker, answered, counted.

Callbacks only. It ends exactly once, in ``_over``; what a worker was given is spooled first.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from inference import admission, body, errors, unheard, verdict, watching
from inference.answer import Answer, NotAnAnswer, State, tokens_of, usage_of
from inference.answering import Lost
from inference.client import Client
from inference.gateway import Gateway
from inference.limits import Admitted, entry
from inference.links import Link, Links
from inference.meter import Residence, Tokens
from inference.payment import Payment
from inference.queued import Queued
from inference.relay import DATA, Relay
from inference.route import Replica, choose, prefix_of
from inference.routes import CHAT, Route
from inference.snapshot import Account, Deployment
from inference.sse import Events
from inference.stream import SseStream
from kernel.clock import NS
from kernel.errors import GanglionError, Unavailable
from kernel.wire.gateway import KeyRow, SegmentEnd

NEVER = 1 << 62
NO_ANSWER = Answer(CHAT, show_usage=False)
CLIENT_GONE = 499
DONE = SegmentEnd.DONE  # met by each request: a look into an enum class is slow
STALE_NS = 5 * NS  # a kept connection that closes later than this after a request was not idle


@dataclass(slots=True, eq=False)
class Exchange(Queued):
    """``start`` it once with the whole request body."""

    _gateway: Gateway
    _client: Client
    _key: KeyRow
    _route: Route
    request_id: str
    _started_ns: int
    residence: Residence | None = None
    terms: str = ""  # lines behind the request's id: how the key's limits stand
    _account: Account | None = None
    _admitted: Admitted | None = None  # of its limits, where it has some
    _anew_ns: int = 0  # when it left the line, where it stood in one
    _answer: Answer = NO_ANSWER
    _ask: body.Ask | None = None
    _attempt: int = -1
    _body: bytes = b""
    _deadline_ns: int = NEVER
    _deployment: Deployment[Links] | None = None
    _flowing: int = 0  # since when bytes of an answer go to the client; 0: none did
    _heard: bool = False  # the worker sent something since the last look
    _link: Link | None = None
    _over: bool = False
    _payment: Payment | None = None
    _paused_ns: int = 0  # since when the client reads too slowly
    _prefix: int = 0  # hash of the prompt's beginning, where there is a choice
    _relay: Relay | None = None  # of a stream to a client who gets chunks
    _replica: Replica[Links] | None = None
    _request: bytes = b""
    _stream: Events | None = None  # of the present answer
    _tried: list[str] = field(default_factory=list)
    _usage_asked: bool = False  # the client wants to see usage in its stream
    _weight: int = 1

    def start(self, received: bytes) -> None:
        """Admit the request and send it on its way, or answer with the error."""
        gateway = self._gateway
        gateway.exchanges.add(self)
        self._body = received
        try:
            ask = self._ask = body.read(received, self._route)
            if self._route.many or not (ask.n is ask.best_of is None):
                self._weight = ask.weight(self._route.many)
            account = self._account = admission.account_of(gateway.tables, self._key)
        except GanglionError as error:
            self._fail(error)
            return
        entry.admit(self, account, ask)

    def wrap(self, make: Callable[[Client, Route, str], Client]) -> None:
        self._client = make(self._client, self._route, self.request_id)

    def _place(self, account: Account, ask: body.Ask) -> None:
        try:
            deployment = admission.resolve(self._gateway.tables, self._key, ask.model)
        except GanglionError as error:
            self._fail(error)
            return
        self._deployment = deployment
        if len(deployment.replicas) > 1:
            self._prefix = prefix_of(ask.beginning, self._key.account_id)
        if deployment.row.pool:
            self._fund(account, deployment, ask)
        else:
            self._dispatch()

    # The purse.

    def _fund(self, account: Account, deployment: Deployment[Links], ask: body.Ask) -> None:
        replica = choose(deployment.replicas, self._gateway.tick_ns, prefix=self._prefix)
        if replica is None:
            self._gateway.waiting.join(self, self._fund, None, account, deployment, ask)
            return
        sizes = self._weight, len(self._body)
        need = admission.hold_nano(deployment.row, replica, self._key, ask, sizes)
        payment = Payment(self._gateway, account, self._key, deployment.row, self.request_id)
        self._payment = payment
        payment.hold(need, lambda error: self._fail(error) if error else self._dispatch())

    # The worker.

    def _dispatch(self, lacking: GanglionError | None = None) -> None:
        """Give the request to the best replica that has not had it yet, else fail."""
        deployment = self._deployment
        assert deployment is not None
        replica = choose(deployment.replicas, self._gateway.tick_ns, self._tried, self._prefix)
        if replica is None:
            self._gateway.waiting.join(self, self._dispatch, lacking)
            return
        self._tried.append(replica.row.replica_id)
        if replica.breaker.failures:
            replica.breaker.starts()
        self._approach(replica)
        replica.links.borrow(self)

    def _approach(self, replica: Replica[Links]) -> None:
        """A try begins; a connection is still to be had."""
        ask, account = self._ask, self._account
        assert ask is not None
        assert account is not None
        self._replica = replica
        self._attempt += 1
        replica.in_flight += 1
        self._answer, self._stream = NO_ANSWER, None
        salt = account.salt if self._payment is not None else ""  # others share this worker
        model = replica.row.upstream_model
        content, asked = body.upstream(ask, self._body, self._route, model=model, cache_salt=salt)
        self._usage_asked = asked
        self._request = body.request(self._route, self.request_id, content)

    def link_ready(self, link: Link) -> None:
        """A connection stands: the request is resident from here on."""
        replica, gateway, ask = self._replica, self._gateway, self._ask
        if replica is None or ask is None:  # the client left while we dialled
            link.give_back()
            return
        self._link = link
        now_ns = gateway.now_ns()
        payment = self._payment
        residence = Residence(
            gateway.target(replica, self._key, ask.model, self._route.name),
            self.request_id,
            self._attempt,
            now_ns,
            gateway.day,
            self._weight,
            payment.slice_id if payment is not None else None,
        )
        try:
            gateway.spool.opened(residence)
        except GanglionError as error:
            self._abort(SegmentEnd.FAILED, error.status)
            self._fail(error)
            return
        self.residence = residence
        if payment is not None:
            payment.enter(replica, now_ns, residence.weight)
        self._deadline_ns = now_ns + gateway.first_byte_ns
        link.send(self._request)
        if ask.stream:
            link.hurry()

    def answer_whole(self, status: int, kind: bytes, retry_after: bytes, content: bytes) -> None:
        self._link = None
        if status == 200:
            try:
                tokens = tokens_of(kind, content) if self._route.binary else usage_of(content)
            except NotAnAnswer:
                pass
            else:
                now_ns = self._served(tokens)
                self._client.whole(kind, content, self.request_id + self.terms)
                self._close(200, tokens, now_ns)
                return
        self._own_answer().take(status, kind, retry_after, content)
        self._judge(b"")

    def answer_head(self, status: int, kind: bytes, length: int) -> None:
        answer = self._own_answer()
        answer.head(status, kind, length)
        self._stream = answer.stream

    def answer_event(self, chunk: bytes, start: int) -> Relay | None:
        known = self._relay
        if known is not None and known.take(chunk, start):
            return known
        self.answer_body(chunk[start - len(DATA) : -2])
        return self._relay.first(chunk, start) if known is None and self._relay else None

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
        self._link = None
        self._answer.end()
        self._judge(b"")

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
        self._own_answer().lost(why.value)
        self._judge(b"")

    def _send(self, content: bytes) -> None:
        """Pass on content; the first of it decides that this worker's answer is the one."""
        if self._flowing:
            self._client.piece(content)
            return
        gateway = self._gateway
        self._flowing = gateway.now_ns()
        gateway.metrics.began(self._route.name, (self._flowing - self._started_ns) / NS)
        self._client.begin(self._answer, content, self.request_id + self.terms)
        send = self._client.chunks()
        if isinstance(self._stream, SseStream) and send is not None:
            self._relay = Relay(self._stream, send)

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
        if self._flowing or not found.again:
            self._fail(found.error)
        elif len(self._tried) >= gateway.settings.gateway_tries_max:
            gateway.waiting.join(self, self._dispatch, found.error)
        else:
            gateway.metrics.count("failover")
            self._dispatch(found.error)

    def _complete(self, content: bytes) -> None:
        """The answer came in pieces and is whole now."""
        link, replica = self._link, self._replica
        if link is not None and replica is not None:  # the end of its framing is still to come
            self._link = None
            replica.links.await_end(link)
        tokens = self._answer.tokens()
        now_ns = self._served(tokens)
        if self._flowing and self._stream is not None:
            self._gateway.metrics.flowed(self._route.name, self._flowing, now_ns, tokens[1])
        if not self._flowing:  # it came in one read
            self._gateway.metrics.began(self._route.name, (now_ns - self._started_ns) / NS)
            self._client.begin(self._answer, content, self.request_id + self.terms)
            content = b""
        self._client.last(content)
        self._close(200, tokens, now_ns)

    def _served(self, tokens: Tokens) -> int:
        """The worker did its part: count it, before the client has its last byte."""
        gateway, replica, residence = self._gateway, self._replica, self.residence
        now_ns = gateway.now_ns()
        self._replica = self.residence = None
        if replica is not None:
            replica.in_flight -= 1
            if replica.breaker.failures:
                replica.breaker.succeeded()
            if self._prefix and not self._attempt:
                replica.paced(now_ns - (self._anew_ns or self._started_ns), tokens[1])
        if residence is not None:
            residence.finish(now_ns, DONE, 200, tokens)
            gateway.spool.finished(residence)
        if self._payment is not None:
            self._payment.leave(now_ns)
        return now_ns

    def _own_answer(self) -> Answer:
        """The answer of the present try."""
        if self._answer is NO_ANSWER:
            self._answer = Answer(self._route, show_usage=self._usage_asked)
        return self._answer

    def _settle_breaker(self, *, healthy: bool | None) -> None:
        if self._replica is not None:
            self._replica.breaker.settle(healthy, self._gateway.now_ns())

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
        self._abort(SegmentEnd.ABORTED, CLIENT_GONE)
        self._close(CLIENT_GONE)

    def shut_down(self) -> None:
        """The gateway stops and this request took longer than that may wait."""
        self._abort(SegmentEnd.FAILED, 503)
        self._fail(Unavailable("The gateway was shut down before the answer was complete."))

    def watch(self, now_ns: int, *, cut: bool) -> None:
        """Deadlines, and the periodic cut of the meter."""
        watching.watch(self, now_ns, cut=cut)

    def _abort(self, end: SegmentEnd, status: int) -> None:
        self._settle_breaker(healthy=None)
        self._leave(end, status)
        self._drop_link()

    def _drop_link(self) -> None:
        link, self._link = self._link, None
        if link is not None:
            link.drop()

    def _leave(self, end: SegmentEnd, status: int, tokens: Tokens | None = None) -> int:
        """The request is no longer with a worker: count what it was given. Returns the time."""
        now_ns = self._gateway.now_ns()
        replica, residence = self._replica, self.residence
        self._replica = self.residence = None
        if replica is not None:
            replica.in_flight -= 1
        if residence is None:
            return now_ns
        if end is SegmentEnd.ABORTED and self._answer is NO_ANSWER:
            unheard.left(self._gateway, replica, self._link, residence, now_ns, status)
        else:
            residence.finish(now_ns, end, status, tokens or self._answer.tokens())
            self._gateway.spool.finished(residence)
        if self._payment is not None:
            self._payment.leave(now_ns)
        return now_ns

    def _fail(self, error: GanglionError) -> None:
        """Answer with an error in the shape that the client can still take."""
        if self._over:  # who left stands in a line for a moment more
            return
        if not self._flowing:
            self._client.refuse(error, self.request_id + self.terms)
        elif self._answer.stream is not None:
            self._gateway.metrics.count("stream_broken")
            self._client.last(self._route.dialect.frame_of(error))
        else:
            self._client.cut()
        self._close(errors.status_of(error))

    def _close(self, status: int, tokens: Tokens | None = None, now_ns: int = 0) -> None:
        self._over = True
        gateway = self._gateway
        now_ns = now_ns or gateway.now_ns()
        gateway.exchanges.discard(self)
        if self._admitted is not None:
            spent = tokens or self._answer.tokens()
            self._admitted.leave(spent[0] + spent[1])
        if self._payment is not None:
            self._payment.close(now_ns, tokens)
            self._payment = None
        gateway.metrics.finished(self._route.name, status, (now_ns - self._started_ns) / NS)
