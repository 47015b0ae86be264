"""The first request with a key in this process: claimed at the brain, run, answered, settled.

It stands between the exchange and the clients: the client of the one, and what the others wait for.
A plain answer is collected while it passes. The request goes on when its client hangs up, for the
client comes again with the same key; a stream ends with its client as any other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from hashlib import sha256
from typing import TYPE_CHECKING, Protocol

from inference import errors
from inference.answer import Answer
from inference.client import Client, Write
from inference.idempotency import words
from inference.idempotency.replays import Name
from kernel.clock import NS
from kernel.errors import GanglionError, Unauthenticated
from kernel.wire.replays import ANSWER_BYTES_MAX, Claim, ClaimAnswer, Kept, Said, Settle

if TYPE_CHECKING:
    from inference.idempotency.keyed import Keyed

WAIT_SECONDS = 2.0  # of one question to the brain
JSON = "application/json"


class Runs(Protocol):
    """An exchange that knows whether a worker began it."""

    begun: bool

    @property
    def streams(self) -> bool: ...

    def start(self, received: bytes) -> None: ...
    def client_paused(self) -> None: ...
    def client_resumed(self) -> None: ...
    def client_gone(self) -> None: ...


Run = Callable[[Client], Runs]


class Original:
    """``join`` with each request of this key; the first of them runs if the brain says so."""

    __slots__ = (
        "_body",
        "_exchange",
        "_first",
        "_input",
        "_kind",
        "_name",
        "_parts",
        "_present",
        "_settled",
        "_size",
        "_stream",
        "_tell",
        "_visitors",
    )

    def __init__(self, first: Keyed, name: Name, received: bytes) -> None:
        self._first = first
        self._name = name
        self._body = received
        self._input = fingerprint(first.route.name, received)
        self._exchange: Runs | None = None
        self._present = True  # the first client is still there
        self._visitors: list[Keyed] = []  # who joined
        self._stream = False
        self._settled = False
        self._kind = b""
        self._parts: list[bytes] = []
        self._size = 0
        self._tell: Callable[[Keyed], None] | None = None  # what who comes now is told

    def join(self, visitor: Keyed, received: bytes) -> None:
        if visitor is self._first:
            claiming = self._first.gateway.replays.claiming
            claiming[self._name[0]] = claiming.get(self._name[0], 0) + 1
            self._first.gateway.replays.spawn(self._claim())
        elif fingerprint(visitor.route.name, received) != self._input:
            visitor.refuse(words.other_input())
        elif self._tell is not None:
            self._tell(visitor)
        else:
            self._visitors.append(visitor)

    def leave(self, visitor: Keyed) -> None:
        """Its client hung up."""
        if visitor in self._visitors:
            self._visitors.remove(visitor)
        elif visitor is self._first:
            self._present = False
            if self._exchange is not None and (self._exchange.streams or self._too_long()):
                self._exchange.client_gone()
                self._over(free=not self._exchange.begun)
            elif self._exchange is not None:
                self._exchange.client_resumed()

    def paused(self, visitor: Keyed, *, since: bool) -> None:
        """The first client sets the pace; who joined gets the whole at once."""
        if visitor is self._first and self._exchange is not None:
            (self._exchange.client_paused if since else self._exchange.client_resumed)()

    def forget(self) -> None:
        """The brain knows: who comes from now on asks there."""
        running = self._first.gateway.replays.running
        if running.get(self._name) is self:
            del running[self._name]

    # The claim.

    async def _claim(self) -> None:
        first, replays = self._first, self._first.gateway.replays
        try:
            told = await self._ask()
        finally:
            replays.claiming[self._name[0]] -= 1
            if not replays.claiming[self._name[0]]:
                del replays.claiming[self._name[0]]
        if told is None:
            self._finish(lambda visitor: visitor.refuse(words.brain_away()))
            self._settle(free=True)  # it may have been ours without our knowing
        elif told.said is not Said.RUN:
            self._finish(lambda visitor: _answer(visitor, told))
            self.forget()
        elif not self._present and not self._visitors:
            self._over(free=True)
        elif first.gateway.tables.keys.get(first.key.digest) is None:
            revoked = Unauthenticated("This API key was revoked.")
            self._finish(lambda visitor: visitor.refuse(revoked))
            self._settle(free=True)
        else:
            self._exchange = first.run(self)
            body, self._body = self._body, b""
            self._exchange.start(body)

    async def _ask(self) -> ClaimAnswer | None:
        """What the brain says, after waiting for another gateway's request for as long as is
        allowed; ``None``: it is away."""
        gateway = self._first.gateway
        wait_ns = round(gateway.settings.gateway_replay_wait_seconds * NS)
        until_ns = gateway.now_ns() + wait_ns
        wait = 0.0
        while True:
            claim = Claim(
                account_id=self._name[0],
                key=self._name[1],
                input=self._input,
                boot_id=gateway.boot_id,
                request_id=self._first.request_id,
                wait_seconds=wait,
            )
            try:
                told = await gateway.replays.desk.claim(claim)
            except GanglionError:
                return None
            waited = gateway.now_ns() >= until_ns or gateway.draining
            if told.said is not Said.RUNNING or waited or not (self._present or self._visitors):
                return told
            wait = WAIT_SECONDS

    # What the exchange says, as to any client.

    def whole(self, kind: bytes, content: bytes, request_id: str) -> None:
        self._kind = kind
        if self._present:
            self._first.client.whole(kind, content, request_id)
        self._collect(content)
        self._answered()

    def begin(self, answer: Answer, content: bytes, request_id: str) -> None:
        self._kind, self._stream = answer.kind, answer.stream is not None
        if self._present:
            self._first.client.begin(answer, content, request_id)
        if self._stream:
            if self._begun:
                self._over()
            self._end_unheard()
        else:
            self._collect(content)

    def piece(self, content: bytes) -> None:
        if self._present:
            self._first.client.piece(content)
        if not self._stream:
            self._collect(content)

    def chunks(self) -> Write | None:
        return self._first.client.chunks() if self._present and self._stream else None

    def last(self, content: bytes) -> None:
        if self._present:
            self._first.client.last(content)
        if self._stream:
            self._over(free=not self._begun)
        else:
            self._collect(content)
            self._answered()

    def refuse(self, error: GanglionError, request_id: str) -> None:
        """An error that the request itself is to blame for, and that counts, is kept. What failed
        on our side is not on the bill (docs/metering.md), and may be run again."""
        if self._present:
            self._first.client.refuse(error, request_id)
        status = errors.status_of(error)
        if not self._begun or error.retryable or status == 429 or status >= 500:
            self._finish(lambda visitor: visitor.refuse(error))
            self._settle(free=True)
        else:
            self._kept(Kept(status, JSON, errors.body_of(error)))

    def wants_comments(self) -> bool:
        asked: Callable[[], bool] = getattr(self._first.client, "wants_comments", bool)
        return self._present and asked()

    def cut(self) -> None:
        if self._present:
            self._first.client.cut()
        self._over()

    # Helpers, in the order used.

    @property
    def _begun(self) -> bool:
        return self._exchange is not None and self._exchange.begun

    def _too_long(self) -> bool:
        return self._size > ANSWER_BYTES_MAX

    def _collect(self, content: bytes) -> None:
        if self._too_long():
            return
        self._size += len(content)
        self._parts.append(content)
        if self._too_long():
            self._parts.clear()
            self._over()
            self._end_unheard()

    def _end_unheard(self) -> None:
        """Nobody can get this answer any more. Not at once: the exchange is just telling it."""
        if not self._present and self._exchange is not None:
            asyncio.get_running_loop().call_soon(self._exchange.client_gone)

    def _answered(self) -> None:
        if not self._too_long():
            self._kept(Kept(200, self._kind.decode("latin-1"), b"".join(self._parts)))
            self._parts.clear()

    def _kept(self, kept: Kept) -> None:
        first = self._first.request_id
        self._finish(lambda visitor: visitor.replay(kept, first))
        self._settle(answer=kept)

    def _over(self, *, free: bool = False) -> None:
        """There is no answer to keep."""
        error = words.still_running if free else words.not_kept
        first = self._first.request_id
        self._finish(lambda visitor: visitor.refuse(error(first)))
        self._settle(free=free)

    def _finish(self, tell: Callable[[Keyed], None]) -> None:
        """Tell all who wait, and who comes until the brain knows. The first client has its answer
        already when there was an exchange."""
        if self._tell is not None:
            return
        self._tell = tell
        waiting, self._visitors = self._visitors, []
        if self._exchange is None and self._present:
            waiting.insert(0, self._first)
        for visitor in waiting:
            tell(visitor)

    def _settle(self, *, free: bool = False, answer: Kept | None = None) -> None:
        if self._settled:
            return
        self._settled = True
        account_id, key = self._name
        over = Settle(account_id, key, self._first.request_id, free=free, answer=answer)
        self._first.gateway.replays.settle(over, self)
        if free:
            self.forget()


def fingerprint(route: str, received: bytes) -> str:
    """Of what was asked, less the boundary of a form: clients draw a new one for each try."""
    if received.startswith(b"--"):
        received = received.replace(received.partition(b"\r\n")[0], b"--")
    return sha256(b"%b\n%b" % (route.encode(), received)).hexdigest()


def _answer(visitor: Keyed, told: ClaimAnswer) -> None:
    """What the brain said, to a client."""
    if told.said is Said.REPLAY and told.answer is not None:
        visitor.replay(told.answer, told.request_id)
    elif told.said is Said.OTHER_INPUT:
        visitor.refuse(words.other_input())
    elif told.said is Said.RUNNING:
        visitor.refuse(words.still_running(told.request_id))
    elif told.said is Said.UNKNOWN:
        visitor.refuse(words.unknown(told.request_id))
    else:
        visitor.refuse(words.not_kept(told.request_id))
