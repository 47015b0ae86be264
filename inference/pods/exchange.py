"""One request and its answer: the link to the pod's port, both flows, their deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from inference.pods import heads
from inference.pods.front import Front, ns
from inference.pods.heads import Answered, Asked, Peer
from inference.pods.names import Address
from inference.pods.reach import check_port, running
from inference.pods.table import Run
from inference.pods.upstream import Upstream
from kernel.errors import (
    GanglionError,
    LimitReached,
    NotFound,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)


class Client(Protocol):
    """What an exchange asks of the client's connection."""

    @property
    def is_open(self) -> bool: ...
    @property
    def keeps(self) -> bool: ...
    def write(self, part: bytes) -> None: ...
    def hold(self) -> None:
        """What is written from here to ``let_go`` leaves in one write."""
        ...

    def let_go(self) -> None: ...
    def pause(self, paused: bool) -> None: ...
    def answered(self, *, keep: bool) -> None: ...
    def raw(self) -> None: ...
    def end_raw(self) -> None: ...
    def close_raw(self) -> None: ...
    def refuse(self, error: GanglionError) -> None: ...
    def cut(self) -> None: ...


class Log(Protocol):
    def info(self, event: str, **facts: object) -> None: ...


class Exchanging:
    """All exchanges of one client's connection, one at a time; it keeps the link in between."""

    def __init__(self, front: Front, client: Client) -> None:
        self._front = front
        self._client = client
        self._settings = front.settings
        self._upstream: Upstream | None = None
        self._opening: asyncio.Task[None] | None = None
        self._asked: Asked | None = None
        self._busy = ""  # the pod whose count we hold
        self._unwatch: Callable[[], None] | None = None
        self._client_full = False
        # Of the present exchange:
        self._run = Run("", "", 0)
        self._port = 0
        self._head = b""
        self._retried = False
        self.begun = False  # something of the answer went to the client
        self._ended = False  # the request is whole
        self._switched = False
        self._chunks = False  # towards the client
        self._bodiless = False
        self._keep = False
        self._held: list[bytes] = []  # of the body, until there is a link
        self._ready = False  # the head was sent to the pod
        self._moved_ns = front.now_ns()
        self._log: Log = structlog.get_logger("inference.pods")

    def _clear(self) -> None:
        self.begun = self._ended = self._switched = self._chunks = self._bodiless = False
        self._keep = self._ready = self._retried = False
        self._held = []
        self._moved_ns = self._front.now_ns()

    @property
    def switches(self) -> bool:
        """The client asks to go over to WebSocket."""
        return self._asked is not None and self._asked.websocket

    # From the client.

    def begin(self, asked: Asked, address: Address, peer: Peer) -> None:
        """Take a judged request. Raises what it is to be answered with."""
        if reason := self._front.why_not_ready():
            raise Unavailable(f"{reason} Try again.", retry_after=2)
        row = self._front.pods.by_slug(address.slug)
        if row is None:
            raise NotFound("There is no pod of this name.", code="pod_not_found")
        check_port(row, address.port)
        run = running(row)
        if not self._front.busy.take(row.pod_id):
            raise LimitReached("Too many connections to this pod are open.", retry_after=5)
        self._clear()
        self._busy, self._asked = row.pod_id, asked
        self._unwatch = self._front.pods.watch(run, self._run_ended)
        self._run, self._port = run, address.port
        self._head = heads.request_head(asked, peer)
        kept = self._upstream
        if kept is not None and kept.is_open and (kept.run, kept.port) == (run, address.port):
            self._send_head(kept)
        else:
            self._begin_open()

    def request_comes(self) -> None:
        """What is sent from here to ``request_came`` came at once, and is passed on so: a head and
        its body in two writes would wake everybody on their way twice."""
        if self._upstream is not None:
            self._upstream.hold()

    def request_came(self) -> None:
        if self._upstream is not None:
            self._upstream.let_go()

    def send_body(self, part: bytes) -> None:
        assert self._asked is not None, "a body follows a head"
        self._moved_ns = self._front.now_ns()
        framed = b"%x\r\n%b\r\n" % (len(part), part) if self._asked.length < 0 else part
        self._send(framed)

    def send_end(self) -> None:
        assert self._asked is not None, "an end follows a head"
        self._ended = True
        if self._asked.length < 0:
            self._send(b"0\r\n\r\n")

    def send_raw(self, part: bytes) -> None:
        self._moved_ns = self._front.now_ns()
        if self._upstream is not None:
            self._upstream.write(part)

    def end_raw(self) -> None:
        if self._upstream is not None:
            self._upstream.write_eof()

    def client_paused(self, paused: bool) -> None:
        self._client_full = paused
        if self._upstream is not None:
            self._upstream.pause(paused)

    def leave(self) -> None:
        """The client is gone or answered for good: nothing of this goes on."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        self._drop_upstream()
        self._release()

    def watch(self, now_ns: int) -> None:
        """Give up what took too long."""
        settings, still_ns = self._settings, now_ns - self._moved_ns
        if self._opening is not None:
            return  # it has a deadline of its own
        if self._switched:
            if still_ns > ns(settings.pod_tunnel_idle_seconds_max):
                self._client.cut()
        elif self._ended and not self.begun:
            if still_ns > ns(settings.pod_first_byte_seconds_max):
                self._drop_upstream()
                self._fail(UpstreamTimeout("The pod did not answer in time.", code="pod_silent"))
        elif still_ns > ns(settings.pod_idle_seconds_max):
            self._client.cut()

    # From the pod.

    def answer_comes(self) -> None:
        self._client.hold()

    def answer_came(self) -> None:
        self._client.let_go()

    def answer_interim(self, answered: Answered) -> None:
        self._moved_ns = self._front.now_ns()
        if self._asked is not None and self._asked.minor == 1 and answered.status in (100, 103):
            self._client.write(heads.interim_head(answered))

    def answer_head(self, answered: Answered) -> None:
        assert self._asked is not None, "asked before it is answered"
        self._moved_ns = self._front.now_ns()
        self.begun = True
        minor = self._asked.minor
        self._bodiless = self._asked.method == b"HEAD" or answered.status in (204, 304)
        self._chunks = minor == 1 and answered.length < 0 and not self._bodiless
        countable = self._bodiless or self._chunks or answered.length >= 0
        self._keep = countable and self._ended and self._client.keeps
        head = heads.answer_head(answered, minor=minor, bodiless=self._bodiless, keep=self._keep)
        self._client.write(head)

    def answer_body(self, part: bytes) -> None:
        self._moved_ns = self._front.now_ns()
        if not part:
            return
        self._client.write(b"%x\r\n%b\r\n" % (len(part), part) if self._chunks else part)

    def answer_end(self, *, reusable: bool) -> None:
        if self._chunks:
            self._client.write(b"0\r\n\r\n")
        if not (reusable and self._ended):
            self._drop_upstream()
        keep = self._keep
        self._release()
        self._client.answered(keep=keep)

    def answer_switch(self, answered: Answered, first: bytes) -> None:
        if not self.switches:
            self._drop_upstream()
            self._fail(heads.nonsense())
            return
        self.begun = self._switched = True
        self._moved_ns = self._front.now_ns()
        self._client.write(heads.switching_head(answered))
        self._client.write(first)
        self._client.raw()

    def answer_raw(self, part: bytes) -> None:
        self._moved_ns = self._front.now_ns()
        if part:
            self._client.write(part)
        else:
            self._client.end_raw()

    def answer_lost(self, error: GanglionError | None) -> None:
        upstream, self._upstream = self._upstream, None
        if self._switched:
            self._client.close_raw()
        elif self.begun:
            self._client.cut()
        elif error is None and self._may_retry(upstream):
            self._retried = True
            self._begin_open()
        else:
            self._fail(error or _closed())

    def _may_retry(self, upstream: Upstream | None) -> bool:
        """A kept link was closed under us: the same once more over a new one loses nothing."""
        asked = self._asked
        return (
            upstream is not None
            and upstream.used
            and not upstream.answered
            and not self._retried
            and asked is not None
            and asked.may_repeat
        )

    def upstream_paused(self, paused: bool) -> None:
        self._client.pause(paused)

    # Between both.

    def _begin_open(self) -> None:
        self._drop_upstream()
        self._ready = False
        self._client.pause(True)
        self._opening = asyncio.get_running_loop().create_task(self._open())

    async def _open(self) -> None:
        run, port = self._run, self._port
        try:
            transport = await self._front.open(run, port)
        except GanglionError as error:
            self._opening = None
            self._log.info("no_link", pod=run.pod_id, port=port, reason=str(error.internal))
            self._fail(error)
            return
        self._opening = None
        upstream = Upstream(run, port, self._settings.pod_head_bytes_max)
        if not upstream.attach(transport):
            upstream.drop()
            self._fail(_closed())
            return
        self._upstream = upstream
        upstream.pause(self._client_full)
        self._client.pause(False)
        self._send_head(upstream)

    def _send_head(self, upstream: Upstream) -> None:
        assert self._asked is not None, "asked before it is sent"
        self._moved_ns = self._front.now_ns()
        held, self._held = self._held, []
        head = b"".join((self._head, *held)) if held else self._head
        upstream.begin(self, head, head_only=self._asked.method == b"HEAD")
        self._ready = True

    def _send(self, framed: bytes) -> None:
        if self._ready and self._upstream is not None:
            self._upstream.write(framed)
        elif not self._ready:
            self._held.append(framed)  # as much as was read at once: reading is paused

    def _run_ended(self, why: str) -> None:
        """Its lease is over: what still comes over the old link is not the pod's word any more."""
        self._drop_upstream()
        if self._opening is not None:
            self._opening.cancel()
            self._opening = None
        if self.begun:
            self._client.cut()
        else:
            self._fail(Unavailable(why, code="pod_not_running", retry_after=5))

    def _fail(self, error: GanglionError) -> None:
        self._release()
        self._client.refuse(error)

    def _release(self) -> None:
        if self._unwatch is not None:
            self._unwatch()
            self._unwatch = None
        if self._busy:
            self._front.busy.give(self._busy)
            self._busy = ""
        self._asked = None

    def _drop_upstream(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.drop()


def _closed() -> GanglionError:
    return UpstreamFailed("The pod closed the connection without an answer.", code="pod_closed")
