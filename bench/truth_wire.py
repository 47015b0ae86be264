"""A client's kept connection, as lean as a client can be: the proofs load both cores with it."""

from __future__ import annotations

import asyncio
from enum import IntEnum
from typing import cast

HEAD_END = b"\r\n\r\n"
HEAD_BYTES_MAX = 1 << 16
LAST_CHUNK = b"\r\n0\r\n\r\n"
DONE = b"[DONE]"
EVENT = b"data: "
TAIL_BYTES = 96  # of what was read, looked at again: what is sought may come in two reads


class Stage(IntEnum):
    """How much of an answer is waited for."""

    HEAD = 1
    EVENT = 2  # the first event of a stream
    WHOLE = 3


class Broken(ConnectionError):
    """No whole answer came."""


class Wire(asyncio.Protocol):
    """One request at a time. What it keeps of an answer: status, request id, whether it was whole
    (a stream: with its mark)."""

    def __init__(self) -> None:
        self.status = 0
        self.request_id = ""
        self.done = False
        self._transport: asyncio.Transport | None = None
        self._awaited: asyncio.Future[None] | None = None
        self._upto = Stage.WHOLE
        self._head: bytes | None = b""  # None: it is over
        self._left = 0  # bytes of the body; negative: it comes in chunks
        self._tail = b""
        self._end, self._ended = DONE, False  # what is to come in a stream, and whether it has

    async def ask(self, request: bytes, upto: Stage = Stage.WHOLE, *, end: bytes = DONE) -> None:
        """Send it, and wait for so much of the answer; a stream is whole when ``end`` was in it.
        Raises ``Broken``."""
        self.send(request)
        self._end, self._ended = end, not end
        self._upto = upto
        self._awaited = asyncio.get_running_loop().create_future()
        await self._awaited

    def send(self, request: bytes) -> None:
        """The same without the wait."""
        if self._transport is None:
            raise Broken
        self.status, self.request_id, self.done = 0, "", False
        self._head, self._left, self._tail = b"", 0, b""
        self._transport.write(request)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        awaited, self._awaited = self._awaited, None
        if awaited is not None and not awaited.done():
            awaited.set_exception(Broken())

    def data_received(self, received: bytes) -> None:
        if self._head is not None:
            head, end, received = (self._head + received).partition(HEAD_END)
            if not end:
                self._head = head
                if len(head) > HEAD_BYTES_MAX:
                    self.abort()
                return
            self._read_head(head.lower() + b"\r\n")
        if self._left >= 0:
            self._left -= len(received)
            if self._left <= 0:
                self.done = True
                self._reached(Stage.WHOLE)
            return
        received = self._tail + received
        if self._upto is Stage.EVENT and EVENT in received:
            self._reached(Stage.EVENT)
        self._ended = self._ended or self._end in received
        tail = self._tail = received[-TAIL_BYTES:]
        if tail.endswith(LAST_CHUNK):
            self.done = self._ended
            self._reached(Stage.WHOLE)

    def _read_head(self, head: bytes) -> None:
        self._head = None
        self.status = int(head[9:12])
        self.request_id = _field(head, b"x-request-id")
        length = _field(head, b"content-length")
        self._left = int(length) if length else -1
        self._tail = b"\r\n"
        self._reached(Stage.HEAD)

    def _reached(self, stage: Stage) -> None:
        awaited = self._awaited
        if awaited is not None and stage >= self._upto:
            self._awaited = None
            if not awaited.done():
                awaited.set_result(None)


async def connect(port: int) -> Wire:
    """Raises ``OSError`` where nobody listens."""
    loop = asyncio.get_running_loop()
    _, wire = await loop.create_connection(Wire, "127.0.0.1", port)
    return wire


def _field(head: bytes, name: bytes) -> str:
    found = head.partition(b"\r\n" + name + b": ")[2]
    return found.partition(b"\r\n")[0].decode()
