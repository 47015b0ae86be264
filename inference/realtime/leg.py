"""One part of a turn: a request of its own to its own deployment, as any other over HTTP.

Admission, money, the choice of a replica, retries and the meter are the :class:`Exchange`'s; here
stands the client that it answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import msgspec

from inference import routes
from inference.answer import Answer
from inference.client import Write
from inference.errors import status_of
from inference.exchange import Exchange
from inference.realtime.caller import Caller
from inference.realtime.form import form
from inference.upload import UploadExchange
from kernel.errors import GanglionError, OutOfCredit, UpstreamFailed, UpstreamTimeout

CHAT, SPEECH, TRANSCRIPTION = "chat", "speech", "transcription"
_PATHS = {
    CHAT: b"/v1/chat/completions",
    SPEECH: b"/v1/audio/speech",
    TRANSCRIPTION: b"/v1/audio/transcriptions",
}
_encode = msgspec.json.Encoder().encode
CANCELLED = 499


@dataclass(slots=True)
class Entry:
    """A leg in the record of its turn."""

    leg: str
    model: str
    request_id: str
    status: int = 0
    ms: int = 0


@dataclass(slots=True, eq=False)
class Leg:
    """``start`` it once. ``heard`` gets what the worker says; ``ended``, once and later, how it
    ended. Neither is called after ``abort``."""

    caller: Caller
    kind: str
    model: str
    heard: Callable[[bytes], None]
    ended: Callable[[GanglionError | None], None]
    entry: Entry = field(init=False)
    _exchange: Exchange | None = None
    _over: bool = False
    _dropped: bool = False
    _paused: bool = False
    _started_ns: int = 0
    _told_ns: int = 0  # when the worker last said anything

    def start(self, ask: Mapping[str, object], sound: bytes = b"") -> None:
        """The request's members beside ``model``; with ``sound`` as a form, their text."""
        gateway = self.caller.gateway
        request_id = gateway.request_ids.new()
        self.entry = Entry(self.kind, self.model, request_id)
        self._started_ns = self._told_ns = gateway.now_ns()
        try:
            key = self.caller.key()
        except GanglionError as error:
            self._end(error)
            return
        fields = {"model": self.model, **ask}
        if sound:
            body = form({name: str(value) for name, value in fields.items()}, sound, request_id)
        else:
            body = _encode(fields)
        route = routes.find(_PATHS[self.kind])
        assert route is not None, "the routes of the legs are there"
        make = UploadExchange if route.form else Exchange
        self._exchange = make(gateway, self, key, route, request_id, self._started_ns)
        self._exchange.start(body)

    def abort(self) -> None:
        """Stop the worker at once."""
        self._dropped = True
        if not self._over:
            self._close(CANCELLED)
            if self._exchange is not None:
                self._exchange.client_gone()

    def pause(self) -> None:
        if self._exchange is not None and not self._over:
            self._paused = True
            self._exchange.client_paused()

    def resume(self) -> None:
        self._told_ns = self.caller.gateway.now_ns()
        if self._exchange is not None and not self._over and self._paused:
            self._paused = False
            self._exchange.client_resumed()

    def watch(self, now_ns: int, silence_ns_max: int) -> None:
        """Give up a worker that says nothing."""
        if self._over or self._paused or now_ns - self._told_ns <= silence_ns_max:
            return
        self.abort()
        self.ended(UpstreamTimeout(f"The {self.kind} model did not answer in time; say it again."))

    # What the exchange tells.

    def whole(self, kind: bytes, content: bytes, request_id: str) -> None:
        self._take(content)
        self._end(None)

    def begin(self, answer: Answer, content: bytes, request_id: str) -> None:
        self._take(content)

    def piece(self, content: bytes) -> None:
        self._take(content)

    def chunks(self) -> Write | None:
        return None

    def wants_comments(self) -> bool:
        return False

    def last(self, content: bytes) -> None:
        self._take(content)
        self._end(None)

    def refuse(self, error: GanglionError, request_id: str) -> None:
        self._end(error)

    def cut(self) -> None:
        """The answer broke off: for want of money, or by the worker's fault."""
        barred = self.caller.barred()
        broken = UpstreamFailed(f"The {self.kind} model's answer broke off; ask again.")
        self._end(barred or self._unfunded() or broken)

    # Helpers, in the order used.

    def _take(self, content: bytes) -> None:
        if content and not self._over:
            self._told_ns = self.caller.gateway.now_ns()
            self.heard(content)

    def _end(self, error: GanglionError | None) -> None:
        if self._over:
            return
        self._close(200 if error is None else status_of(error))
        # The exchange settles what it held only after it has told us: the next leg may need that.
        asyncio.get_running_loop().call_soon(self._tell, error)

    def _tell(self, error: GanglionError | None) -> None:
        if not self._dropped:
            self.ended(error)

    def _close(self, status: int) -> None:
        self._over = True
        self.entry.status = status
        self.entry.ms = (self.caller.gateway.now_ns() - self._started_ns) // 1_000_000

    def _unfunded(self) -> GanglionError | None:
        gateway = self.caller.gateway
        account = gateway.tables.accounts.get(self.caller.opened_with.account_id)
        if account is not None and account.purse.refused(gateway.now_ns()):
            return OutOfCredit("The account ran out of credit. Top up, then open another session.")
        return None
