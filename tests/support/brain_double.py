"""A stand-in for the brain's gateway doors: keeps what gateways ship, grants slices, feeds
changes; with faults on demand. The real brain is tested with the real gateway end to end.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec

from inference.idempotency import MemoryDesk
from kernel.clock import NS, SystemClock
from kernel.wire import encode
from kernel.wire.digest import snapshot_digest
from kernel.wire.gateway import (
    ChangeLine,
    HelloAnswer,
    LoadAnswer,
    LoadReport,
    Segment,
    SliceAnswer,
    SliceRequest,
    Snapshot,
    UsageAnswer,
    UsageBatch,
)
from kernel.wire.replays import Claim, Said, Settle

TOKEN = "gateway-token"


@dataclass
class BrainDouble:
    """``money`` is what each account has left for slices, in nano-dollars."""

    tables: Snapshot
    port: int = 0
    money: dict[str, int] = field(default_factory=dict)
    segments: dict[str, Segment] = field(default_factory=dict)
    loads: list[LoadReport] = field(default_factory=list)
    repeats: int = 0
    batches: list[UsageBatch] = field(default_factory=list)
    slices: dict[str, int] = field(default_factory=dict)
    asked: list[SliceRequest] = field(default_factory=list)
    returned: list[str] = field(default_factory=list)
    fail_next: int = 0  # calls that are taken in, but answered with 500
    refuse: bool = False  # every call is answered with 503
    followers: list[str] = field(default_factory=list)  # paths of the streams, with their queries
    desk: MemoryDesk = field(default_factory=lambda: MemoryDesk(SystemClock()))
    _feeds: list[asyncio.StreamWriter] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def settings(self) -> dict[str, object]:
        """What a gateway needs to know this brain."""
        return {"brain_url": self.url, "gateway_token": TOKEN, "gateway_ship_seconds": 0.1}

    def tell(self, line: ChangeLine) -> None:
        """Push a change to every gateway."""
        for feed in self._feeds:
            feed.write(_chunk(encode(line) + b"\n"))

    def hang_up(self) -> None:
        for feed in self._feeds:
            feed.transport.abort()
        self._feeds.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            assert f"authorization: bearer {TOKEN}".encode() in head.lower()
            path = head.split(b" ", 2)[1]
            length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
            body = await reader.readexactly(length)
            if self.refuse:
                writer.write(_answer(503, b"{}"))
            elif path.startswith(b"/internal/changes"):
                self.followers.append(path.decode())
                await self._feed(writer)
                return
            elif path.startswith(b"/internal/gateway/replays"):
                writer.write(_answer(200, await self._key(path, body)))
            else:
                status, answer = self._answer(path, body)
                if self.fail_next:
                    self.fail_next -= 1
                    status, answer = 500, b"{}"
                writer.write(_answer(status, answer))
            await writer.drain()
            writer.close()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.transport.abort()

    async def _feed(self, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
        writer.write(_chunk(encode(ChangeLine(snapshot=self.tables)) + b"\n"))
        writer.write(_chunk(encode(ChangeLine(digest=snapshot_digest(self.tables))) + b"\n"))
        await writer.drain()
        self._feeds.append(writer)

    def _answer(self, path: bytes, body: bytes) -> tuple[int, bytes]:
        if path == b"/internal/gateway/hello":
            return 200, encode(HelloAnswer(installation_id="test", offset_ns=0))
        if path == b"/internal/gateway/slices":
            return self._slice(msgspec.json.decode(body, type=SliceRequest))
        if path == b"/internal/gateway/limits":
            return 503, b"{}"  # every gateway limits alone
        if path == b"/internal/gateway/load":
            report = msgspec.json.decode(body, type=LoadReport)
            self.loads.append(report)
            return 200, encode(LoadAnswer(len(report.loads)))
        batch = msgspec.json.decode(body, type=UsageBatch)
        return 200, encode(self._take(batch))

    async def _key(self, path: bytes, body: bytes) -> bytes:
        if path.endswith(b"settle"):
            await self.desk.settle(msgspec.json.decode(body, type=Settle))
            return b'{"known":true}'
        asked = msgspec.json.decode(body, type=Claim)
        clock = SystemClock()
        until_ns = clock.monotonic_ns() + round(asked.wait_seconds * NS)
        told = await self.desk.claim(asked)
        while told.said is Said.RUNNING and clock.monotonic_ns() < until_ns:
            await clock.sleep(0.05)
            told = await self.desk.claim(asked)
        return encode(told)

    def _slice(self, request: SliceRequest) -> tuple[int, bytes]:
        self.asked.append(request)
        granted = self.slices.get(request.slice_id)
        if granted is None:
            left = self.money.get(request.account_id, 0)
            granted = min(request.want_nano, left)
            if granted < request.need_nano:
                return 402, b"{}"
            self.money[request.account_id] = left - granted
            self.slices[request.slice_id] = granted
        return 200, encode(SliceAnswer(request.slice_id, granted))

    def _take(self, batch: UsageBatch) -> UsageAnswer:
        self.batches.append(batch)
        new = 0
        for segment in batch.segments:
            if segment.key in self.segments:
                assert self.segments[segment.key] == segment, "one key, two contents"
                self.repeats += 1
            else:
                self.segments[segment.key] = segment
                new += 1
        self.returned.extend(row.slice_id for row in batch.returns)
        return UsageAnswer(accepted=new, known=len(batch.segments) - new)


def _chunk(part: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(part), part)


def _answer(status: int, body: bytes) -> bytes:
    return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


@asynccontextmanager
async def brain_double(tables: Snapshot, **money: int) -> AsyncIterator[BrainDouble]:
    """One at a free port, for as long as the block lasts."""
    brain = BrainDouble(tables, money=dict(money))
    server = await asyncio.start_server(brain._serve, "127.0.0.1", 0, limit=1 << 24)
    brain.port = server.sockets[0].getsockname()[1]
    try:
        yield brain
    finally:
        server.close()
        brain.hang_up()
