"""The pod's side of a request: a raw link over which HTTP/1.1 is spoken, one request at a time."""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

import httptools

from inference.pods import heads
from inference.pods.heads import Answered, Header
from inference.pods.table import Run
from kernel.errors import GanglionError


class Exchange(Protocol):
    """What an upstream tells the client's connection that it answers."""

    def answer_comes(self) -> None:
        """What is told from here to ``answer_came`` came at once, and is best passed on so."""
        ...

    def answer_came(self) -> None: ...
    def answer_interim(self, answered: Answered) -> None: ...
    def answer_head(self, answered: Answered) -> None: ...
    def answer_body(self, part: bytes) -> None: ...
    def answer_end(self, *, reusable: bool) -> None: ...
    def answer_switch(self, answered: Answered, first: bytes) -> None:
        """101: both sides are raw from now on; ``first`` came with the head."""
        ...

    def answer_raw(self, part: bytes) -> None: ...
    def answer_lost(self, error: GanglionError | None) -> None:
        """The link ended before the answer; ``error`` when what came was nonsense."""
        ...

    def upstream_paused(self, paused: bool) -> None:
        """Its buffer is full (or has room again): stop (or go on) reading from the client."""
        ...


class Upstream(asyncio.Protocol):
    """One link. ``exchange`` is whom it answers now; without one it is idle."""

    def __init__(self, run: Run, port: int, head_bytes_max: int) -> None:
        self.run = run
        self.port = port
        self.exchange: Exchange | None = None
        self.used = False  # it has carried a request before
        self.answered = False  # something of the present answer came
        self._head_bytes_max = head_bytes_max
        self._transport: asyncio.Transport | None = None
        self._head_only = False
        self._raw = False
        # Of the present answer:
        self._headers: list[Header] = []
        self._reason = b""
        self._interim: list[Answered] = []
        self._judged: Answered | None = None
        self._told = False  # its head went to the client
        self._complete = False
        self._bodiless = False
        self._until_close = False
        self._reusable = False
        self._parts: list[bytes] = []
        self._fault: GanglionError | None = None
        self._unseen = 0  # bytes since anything came of them
        self._held: list[bytes] | None = None  # what is to leave in one write
        self._begin_parse()

    def attach(self, transport: asyncio.Transport) -> bool:
        """Take over a raw link. False when it was lost before anybody listened."""
        transport.set_protocol(self)
        self.connection_made(transport)
        return not transport.is_closing()

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def begin(self, exchange: Exchange, head: bytes, *, head_only: bool) -> None:
        """Send a request's head; its body follows by ``write``."""
        self.exchange = exchange
        self.answered = False
        self._head_only = head_only
        self._begin_parse()
        self.write(head)

    def write(self, part: bytes) -> None:
        if self._held is not None:
            self._held.append(part)
        elif self._transport is not None:
            self._transport.write(part)

    def hold(self) -> None:
        """What is written from here to ``let_go`` leaves in one write."""
        self._held = []

    def let_go(self) -> None:
        held, self._held = self._held, None
        if held and self._transport is not None:
            self._transport.writelines(held)

    def write_eof(self) -> None:
        """The client will send no more; what the pod still says is passed on."""
        if self._transport is not None and self._transport.can_write_eof():
            self._transport.write_eof()

    def pause(self, paused: bool) -> None:
        if self._transport is not None and not self._transport.is_closing():
            if paused:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()

    def drop(self) -> None:
        """Close at once; the pod's server sees the abort."""
        self.exchange = None
        if self._transport is not None:
            self._transport.abort()
            self._transport = None

    # What the event loop tells.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def pause_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_paused(True)

    def resume_writing(self) -> None:
        if self.exchange is not None:
            self.exchange.upstream_paused(False)

    def data_received(self, received: bytes) -> None:
        exchange = self.exchange
        if exchange is None:
            self.drop()  # nobody asked for this
            return
        self.answered = True
        if self._raw:
            exchange.answer_raw(received)
            return
        self._unseen += len(received)
        exchange.answer_comes()
        self._parse(received)
        if self._unseen > self._head_bytes_max and self.exchange is exchange:
            self._lose(heads.nonsense())
        exchange.answer_came()

    def eof_received(self) -> bool:
        if self._until_close and not self._complete and self.exchange is not None:
            self._finish()
        elif self._raw and self.exchange is not None:
            self.exchange.answer_raw(b"")
            return True
        return False

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._lose(None)

    # What the parser finds.

    def on_status(self, reason: bytes) -> None:
        self._reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._judged is None:  # trailers are dropped
            self._headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._complete or self._judged is not None:
            self._fault = heads.nonsense()  # an answer that nobody asked for
            return
        status = int(self._parser.get_status_code())
        headers, self._headers = self._headers, []
        reason, self._reason = self._reason, b""
        try:
            judged = heads.judge_answer(status, reason, headers)
        except GanglionError as fault:
            self._fault = fault
            return
        if status < 200:
            self._interim.append(judged)
            return
        self._judged = judged
        self._bodiless = self._head_only or status in (204, 304)
        self._reusable = bool(self._parser.should_keep_alive())
        self._until_close = judged.length == -2 and not self._bodiless

    def on_body(self, part: bytes) -> None:
        if self._complete:
            return  # of an answer that nobody asked for: ``_fault`` is set
        self._unseen = 0
        self._parts.append(part)

    def on_message_complete(self) -> None:
        if self._judged is not None:
            self._complete = True
            self._reusable = bool(self._parser.should_keep_alive())  # only here it can tell

    def _begin_parse(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._headers, self._reason = [], b""
        self._interim, self._parts = [], []
        self._judged = self._fault = None
        self._told = self._complete = self._bodiless = False
        self._until_close = self._reusable = False
        self._unseen = 0

    def _parse(self, received: bytes) -> None:
        """Feed the parser, then tell the client's side what it found, in order."""
        rest: bytes | None = None
        try:
            self._parser.feed_data(received)
        except httptools.HttpParserUpgrade as upgrade:
            rest = received[upgrade.args[0] :]
        except httptools.HttpParserError:
            # To HEAD the parser expects a body that must not come: then the head is all there is.
            if not (self._judged is not None and self._bodiless):
                self._fault = self._fault or heads.nonsense()
        self._tell(rest)

    def _tell(self, rest: bytes | None) -> None:
        exchange = self.exchange
        assert exchange is not None, "asked before anything is parsed"
        interim, self._interim = self._interim, []
        for one in interim:
            if one.status == 101:
                if rest is None:
                    self._lose(heads.nonsense())
                    return
                self._raw, self._unseen = True, 0
                exchange.answer_switch(one, rest)
                return
            exchange.answer_interim(one)
        if self._judged is not None and not self._told:
            self._told = True
            self._unseen = 0
            exchange.answer_head(self._judged)
        parts, self._parts = self._parts, []
        if not self._bodiless:
            for part in parts:
                if self.exchange is exchange:
                    exchange.answer_body(part)
        if self.exchange is not exchange:
            return  # it gave this link up meanwhile
        if self._fault is not None:
            self._lose(self._fault)
        elif self._told and self._bodiless:
            self._finish(reusable=not parts and self._reusable)
        elif self._complete and not self._until_close:
            self._finish(reusable=self._reusable)

    def _finish(self, *, reusable: bool = False) -> None:
        self._complete = True
        exchange, self.exchange = self.exchange, None
        self.used = True
        if not reusable:
            self.drop()
        if exchange is not None:
            exchange.answer_end(reusable=reusable)

    def _lose(self, fault: GanglionError | None) -> None:
        exchange = self.exchange
        self.drop()
        if exchange is not None:
            exchange.answer_lost(fault)
