"""HTTP/1.1 over asyncio streams with h11: one exchange at a time, hang-ups noticed at once."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import h11

from standins.worker.faults import CutHow, Fault, FaultKind

READ_BYTES = 64 * 1024
KEEP_ALIVE_SECONDS = 5.0  # vLLM's own (uvicorn's default)
SEND_SECONDS_MAX = 120.0
DISCARD_SECONDS_MAX = 5.0
_END = h11.EndOfMessage()
GARBAGE = b"\x00\xff<garbage>{]\xfe\n"
Answerer = Callable[["Exchange"], Awaitable[None]]
Waiter = Callable[[float], Awaitable[None]]


class Cut(Exception):
    """The exchange ends here and the connection with it."""


@dataclass(frozen=True, slots=True)
class Request:
    """A request. ``body`` is empty where it is left to ``Exchange.upload``."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    query: str = ""

    @property
    def is_form(self) -> bool:
        return self.headers.get("content-type", "").lower().startswith("multipart/form-data")

    @property
    def is_upgrade(self) -> bool:
        return self.headers.get("upgrade", "").lower() == "websocket"


class Exchange:
    """One request and the writing of its answer, with the fault it meets.

    ``wait`` is how the worker waits (it may raise when the engine stops).
    """

    def __init__(self, request: Request, connection: Connection) -> None:
        self.request = request
        self.fault: Fault | None = None
        self.wait: Waiter | None = None
        self.begun = False
        self.gone = False
        self._connection = connection
        self._sent = 0
        self._raw = False

    async def upload(self) -> AsyncIterator[bytes]:
        """The body of a form in the pieces that it comes in; none of it is kept here.

        Raises ``ConnectionError`` when the client hangs up in the middle.
        """
        deaf = self.fault if self._is(FaultKind.DEAF) else None
        taken = 0
        try:
            async for piece in self._connection.pieces():
                taken += len(piece)
                if deaf and taken > deaf.after_bytes:
                    assert self.wait is not None, "a fault is set together with the way to wait"
                    await self.wait(deaf.seconds)
                    deaf = None
                yield piece
        except (ConnectionError, TimeoutError):
            self.gone = True
            raise

    async def take_over(self, head: bytes) -> None:
        """Send ``head``, the answer that ends HTTP here; what follows are plain bytes."""
        await self._break_at_once()
        self._raw = self.begun = True
        await self._put_raw(head)

    async def read(self) -> bytes:
        """The next bytes after ``take_over``; b"" when the client hung up."""
        try:
            return await self._connection.read_raw()
        except ConnectionError:
            return b""

    async def answer(
        self,
        status: int,
        body: bytes,
        *,
        content_type: str = "application/json",
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """A whole answer at once."""
        if not self._is(FaultKind.CUT) or self.fault is None or self.fault.how != CutHow.END:
            headers = (*headers, ("content-length", str(len(body))))
        if self.fault is None and body:
            await self._put(self._head(status, content_type, headers), h11.Data(body), _END)
            return
        await self.begin(status, content_type, headers)
        await self.send(body)
        await self.end()

    async def begin(
        self, status: int, content_type: str, headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        """The head; with no content-length among the headers the body is chunked."""
        await self._break_at_once()
        await self._put(self._head(status, content_type, headers))

    def _head(
        self, status: int, content_type: str, headers: tuple[tuple[str, str], ...]
    ) -> h11.Response:
        self.begun = True
        named = [("server", "ganglion-stand-in"), *headers]
        if content_type:
            named.insert(0, ("content-type", content_type))
        return h11.Response(status_code=status, headers=named)

    async def send(self, body: bytes) -> None:
        fault = self.fault
        if fault is None or fault.fault not in _BYTE_FAULTS:
            await self._write(body)
            return
        room = max(fault.after_bytes - self._sent, 0)
        await self._write(body[:room])
        rest = body[room:]
        if not rest:
            return
        if fault.fault == FaultKind.GARBAGE:
            rest = (GARBAGE * (len(rest) // len(GARBAGE) + 1))[: len(rest)]
        else:
            await self._break(fault, before_head=False)
        await self._write(rest)

    async def end(self) -> None:
        await self._put(_END)

    async def _put_raw(self, content: bytes) -> None:
        try:
            await self._connection.write(content)
        except (ConnectionError, TimeoutError):
            self.gone = True
            raise

    async def _put(self, *events: h11.Event) -> None:
        try:
            await self._connection.send(*events)
        except (ConnectionError, TimeoutError):
            self.gone = True  # the write met the hang-up before the watch saw it
            raise

    async def _write(self, body: bytes) -> None:
        self._sent += len(body)
        if body and self._raw:
            await self._put_raw(body)
        elif body:
            await self._put(h11.Data(data=body))

    async def _break_at_once(self) -> None:
        """For a fault that comes before the head."""
        fault = self.fault
        if fault is None or fault.after_bytes or fault.how == CutHow.END:
            return
        if fault.fault in (FaultKind.CUT, FaultKind.DIE):
            await self._break(fault, before_head=True)

    async def _break(self, fault: Fault, *, before_head: bool) -> None:
        if fault.fault == FaultKind.STALL:
            self.fault = None
            assert self.wait is not None, "a fault is set together with the way to wait"
            await self.wait(fault.seconds)
        elif fault.fault == FaultKind.CUT:
            if fault.how == CutHow.END and not before_head and not self._raw:
                await self.end()
            if fault.how == CutHow.RESET:
                self._connection.reset()
            raise Cut
        elif fault.fault == FaultKind.DIE:
            os._exit(fault.exit_code)

    def _is(self, kind: FaultKind) -> bool:
        return self.fault is not None and self.fault.fault == kind


_BYTE_FAULTS = (FaultKind.STALL, FaultKind.CUT, FaultKind.GARBAGE, FaultKind.DIE)


class Connection:
    """One client connection: reads requests, runs the answerer, cancels it on a hang-up."""

    def __init__(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answerer: Answerer,
        body_bytes_max: int,
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._answerer = answerer
        self._body_bytes_max = body_bytes_max
        self._http = h11.Connection(h11.SERVER)
        self._early = b""
        self._body_over = asyncio.Event()  # no one but the watch reads from then on

    async def serve(self) -> None:
        """Returns when the connection is over; raises nothing that the client caused."""
        try:
            while await self._one_exchange():
                self._http.start_next_cycle()
        except (Cut, ConnectionError, TimeoutError, h11.LocalProtocolError):
            pass
        except h11.RemoteProtocolError as wrong:
            await self._refuse(wrong.error_status_hint)
        finally:
            self._writer.close()

    async def send(self, *events: h11.Event) -> None:
        payload = b"".join([self._http.send(event) or b"" for event in events])
        if payload:
            await self.write(payload)

    async def write(self, content: bytes) -> None:
        self._writer.write(content)
        if not self._writer.transport.get_write_buffer_size():
            await self._writer.drain()  # which only looks whether the connection is lost
            return
        async with asyncio.timeout(SEND_SECONDS_MAX):
            await self._writer.drain()

    async def read_raw(self) -> bytes:
        """What came after the HTTP of this connection; b"" when the client hung up."""
        early, self._early = self._early, b""
        return early or await self._reader.read(READ_BYTES)

    async def pieces(self) -> AsyncIterator[bytes]:
        """The body of the request in hand, as it comes; ``ConnectionError`` on a hang-up."""
        await self._continue()
        while not self._body_over.is_set():
            try:
                event = await self._next_event(SEND_SECONDS_MAX)
            except h11.RemoteProtocolError as wrong:
                raise ConnectionError("the client hung up in its upload") from wrong
            if not isinstance(event, h11.Data):
                self._body_over.set()
                return
            yield bytes(event.data)

    def reset(self) -> None:
        """Close so that the other side sees a TCP reset."""
        sock: socket.socket | None = self._writer.get_extra_info("socket")
        if sock is not None:
            linger_now = struct.pack("ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger_now)
        self._writer.transport.abort()

    async def _one_exchange(self) -> bool:
        request = await self._read_request()
        if request is None:
            return False
        exchange = Exchange(request, self)
        work = asyncio.ensure_future(self._answerer(exchange))
        watch = asyncio.ensure_future(self._watch())
        try:
            await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                exchange.gone = True
                work.cancel()
        finally:
            watch.cancel()
            work.cancel()
            await asyncio.wait({watch, work})  # two readers at once are an error
        if exchange.gone or work.cancelled():
            return False
        work.result()
        if request.is_upgrade:
            return False
        if self._http.our_state is h11.DONE and not self._body_over.is_set():
            await self._discard()
        return self._http.our_state is h11.DONE and self._http.their_state is h11.DONE

    async def _discard(self) -> None:
        """Read on to the end of an upload that was answered early: else its client, still
        sending, would see a reset and not the answer."""
        with suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(DISCARD_SECONDS_MAX):
                async for _ in self.pieces():
                    pass

    async def _watch(self) -> None:
        """Return when the client hangs up; keep what it sends early for the next request."""
        await self._body_over.wait()
        kept = 0
        while kept < READ_BYTES:
            try:
                early = await self._reader.read(READ_BYTES)
            except ConnectionError:
                return
            if not early:
                return
            kept += len(early)
            self._http.receive_data(early)

    async def _read_request(self) -> Request | None:
        """The next request, with its body unless that is a form; None when it cannot be read."""
        self._body_over.clear()
        head = await self._next_event(KEEP_ALIVE_SECONDS)
        if not isinstance(head, h11.Request):
            return None
        target = urlsplit(head.target.decode())
        request = Request(
            method=head.method.decode(),
            path=target.path,
            query=target.query,
            headers={name.decode(): value.decode("latin-1") for name, value in head.headers},
            body=b"",
        )
        if request.is_form:
            return request
        body = await self._whole_body()
        if body is None:
            return None
        if request.is_upgrade:
            self._early = self._http.trailing_data[0]
        else:
            self._body_over.set()
        return replace(request, body=body)

    async def _continue(self) -> None:
        if self._http.they_are_waiting_for_100_continue:
            await self.send(h11.InformationalResponse(status_code=100, headers=[]))

    async def _whole_body(self) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        await self._continue()
        while True:
            event = await self._next_event(SEND_SECONDS_MAX)
            if isinstance(event, h11.EndOfMessage):
                break
            if not isinstance(event, h11.Data):
                return None
            size += len(event.data)
            if size > self._body_bytes_max:
                await self._refuse(413)
                return None
            parts.append(bytes(event.data))
        return b"".join(parts)

    async def _next_event(self, seconds: float) -> object:
        async with asyncio.timeout(seconds):
            while (event := self._http.next_event()) is h11.NEED_DATA:
                self._http.receive_data(await self._reader.read(READ_BYTES))
        return event

    async def _refuse(self, status: int) -> None:
        """Answer a request that could not be read, where that is still possible."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        headers = [("content-length", "0"), ("connection", "close")]
        await self.send(h11.Response(status_code=status, headers=headers))
        await self.send(h11.EndOfMessage())
