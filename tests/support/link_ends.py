"""The agent's end of links, byte by byte: what a test says and what the gateway answers."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from inference.link_listener import LinkListener, LinkTerms
from kernel.clock import SystemClock
from kernel.wire import links as wire
from tests.support.wait import until

LEASE, KEY, BOOT = "lease_1", b"k" * 32, "boot_1"
SECONDS_MAX = 30
_NUMBERS = itertools.count(10**15)


@dataclass
class LinkEnd:
    """One connection, after its head was sent."""

    link: wire.LinkRequest
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes = b""

    @property
    def status(self) -> int:
        return int(self.head.split(b" ", 2)[1])

    async def read(self, count: int) -> bytes:
        async with asyncio.timeout(SECONDS_MAX):
            return await self.reader.readexactly(count)

    async def line(self) -> str:
        async with asyncio.timeout(SECONDS_MAX):
            return (await self.reader.readline()).decode().strip()

    async def ended(self) -> bool:
        """Whether the other side closed it, within a while."""
        try:
            async with asyncio.timeout(SECONDS_MAX):
                return await self.reader.read() == b""
        except ConnectionError:
            return True


@dataclass
class LinkEnds:
    """Opens links as an agent does, honest or not."""

    listener: LinkListener
    ends: list[LinkEnd] = field(default_factory=list)

    async def send(self, port: int | str = wire.WORKER, key: bytes = KEY, **fields: Any) -> LinkEnd:
        """A link whose answer is still to come."""
        values = {"lease_id": LEASE, "epoch": 1, "gateway": BOOT, "number": next(_NUMBERS)}
        link = wire.LinkRequest(**{**values, "port": port, **fields})
        return await self.raw(wire.request_head(link, key, "gateway"), link)

    async def raw(self, head: bytes, link: wire.LinkRequest | None = None) -> LinkEnd:
        url = urlsplit(self.listener.url)
        reader, writer = await asyncio.open_connection(url.hostname, url.port)
        writer.write(head)
        nothing = wire.LinkRequest("", 0, wire.WORKER, "", 0)
        self.ends.append(LinkEnd(link or nothing, reader, writer))
        return self.ends[-1]

    async def answered(self, end: LinkEnd) -> LinkEnd:
        async with asyncio.timeout(SECONDS_MAX):
            end.head = await end.reader.readuntil(wire.HEAD_END)
        return end

    async def open(self, port: int | str = wire.WORKER, **fields: Any) -> LinkEnd:
        """A link with its answer, whatever that is."""
        end = await self.answered(await self.send(port, **fields))
        if end.status == 101:
            wire.check_answer(end.head, end.link, fields.get("key", KEY))
        return end

    def gauge(self, name: str) -> float:
        return self.listener.gauges()[name]

    async def shows(self, name: str, value: float) -> None:
        await until(lambda: self.gauge(name) == value, why=f"{name} is {value}")


@asynccontextmanager
async def link_ends(
    *, known: bool = True, lease_id: str = LEASE, key: str = KEY.hex(), **terms: Any
) -> AsyncIterator[LinkEnds]:
    """A listener that knows the lease, and an agent's hand to open links to it."""
    listener = LinkListener(BOOT, LinkTerms(**terms), SystemClock())
    await listener.start()
    if known:
        listener.expect(lease_id, 1, key)
    found = LinkEnds(listener)
    try:
        yield found
    finally:
        await listener.close()
        for end in found.ends:
            end.writer.transport.abort()
