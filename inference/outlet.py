"""How answers go out on a client's connection: whole, in pieces, as an error, cut."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque

from inference import errors, heads
from inference.answer import Answer
from inference.client import Write
from inference.extras import Running
from inference.gateway import Gateway
from inference.incoming import Request, shape_of
from kernel.errors import GanglionError

LAST_CHUNK = b"0\r\n\r\n"


class Outlet(ABC):
    """The half of a connection that an exchange sees (``inference.client.Client``)."""

    __slots__ = (
        "_chunked_out",
        "_current",
        "_deaf",
        "_exchange",
        "_gateway",
        "_queue",
        "_transport",
    )

    _transport: asyncio.Transport | None
    _gateway: Gateway
    _exchange: Running | None
    _current: Request | None
    _queue: deque[Request]
    _chunked_out: bool
    _deaf: bool

    @abstractmethod
    def _ended(self, keeps: bool) -> None:
        """The present answer is out."""

    def whole(self, kind: bytes, content: bytes, request_id: str) -> None:
        """A plain answer in one write."""
        current = self._current
        keeps = current is not None and current.keep and not self._gateway.draining
        if self._transport is not None:
            self._transport.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: %b\r\nx-request-id: %b\r\n%b"
                b"content-length: %d\r\n\r\n%b"
                % (
                    kind or b"application/json",
                    request_id.encode(),
                    b"" if keeps else heads.CLOSE,
                    len(content),
                    content,
                )
            )
        self._ended(keeps)

    def begin(self, answer: Answer, content: bytes, request_id: str) -> None:
        """The head and the first content of an answer whose end is not known yet."""
        current = self._current
        assert current is not None
        sized = answer.stream is None and answer.length >= 0
        chunked = self._chunked_out = not sized and current.chunked
        if not (sized or chunked):
            current.keep = False  # HTTP/1.0: the end of the connection is the end
        close = not current.keep or self._gateway.draining
        head = heads.begun(answer, request_id, chunked=chunked, close=close)
        if chunked:
            content = b"%x\r\n%b\r\n" % (len(content), content)
        if self._transport is not None:
            self._transport.write(head + content)

    def piece(self, content: bytes) -> None:
        if self._chunked_out:
            content = b"%x\r\n%b\r\n" % (len(content), content)
        if self._transport is not None:
            self._transport.write(content)

    def chunks(self) -> Write | None:
        return self._transport.write if self._chunked_out and self._transport else None

    def last(self, content: bytes) -> None:
        """The end of an answer that has begun."""
        if self._chunked_out:
            if content:
                content = b"%x\r\n%b\r\n" % (len(content), content)
            content += LAST_CHUNK
        if self._transport is not None:
            self._transport.write(content)
        current = self._current
        self._ended(current is not None and current.keep and not self._gateway.draining)

    def refuse(self, error: GanglionError, request_id: str) -> None:
        current = self._current
        head_only = current is not None and current.head_only
        close = not self._keeps()
        shape = shape_of(current.route if current is not None else None)
        self._write(
            errors.answer_of(error, request_id, close=close, head_only=head_only, body_of=shape)
        )
        self._ended(self._keeps())

    def page(self, content: bytes, kind: bytes, status: int = 200) -> None:
        """An answer of the gateway's own."""
        request_id = self._gateway.request_ids.new()
        self._write(heads.page(content, kind, status, request_id, close=not self._keeps()))
        self._ended(self._keeps())

    def wants_comments(self) -> bool:
        return getattr(self._current, "comments", False)

    def cut(self) -> None:
        """End the answer so that nobody can take it for a whole one."""
        self._deaf = True
        for request in (self._current, *self._queue):
            if request is not None:
                request.let_go(self._gateway)
        self._exchange = self._current = None
        self._queue.clear()
        if self._transport is not None:
            self._transport.abort()

    def _keeps(self) -> bool:
        return self._current is not None and self._current.keep and not self._gateway.draining

    def _write(self, content: bytes) -> None:
        if self._transport is not None:
            self._transport.write(content)
