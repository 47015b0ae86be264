"""The clients of the proof under kills: seeded, each with a connection of its own, never tired.

A client goes on whatever happens to the product: where nobody answers it tries the next gateway.
What it keeps is small: of each answer that it had whole, the request's id.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

SECONDS_MAX = 30.0  # of one answer; a worker that dies is replaced within that
PAUSE_SECONDS = 0.05  # after a connection or an answer that failed
ABORTS, STREAMS = 0.1, 0.25  # shares of the requests; the rest is plain
HEAD_BYTES_MAX = 1 << 16


class Broken(Exception):
    """No whole answer came."""


class Left(Exception):
    """The client itself hung up."""


@dataclass
class Told:
    """What the clients saw. ``sent`` counts requests that were not refused: answered, broken off,
    or given up by the client."""

    sent: int = 0
    whole: list[str] = field(default_factory=list)  # ids of requests that were answered to the end
    statuses: Counter[int] = field(default_factory=Counter)
    broken: int = 0  # connections that ended in the middle
    left: int = 0  # requests that the client itself gave up
    unheard: int = 0  # nobody listened


@dataclass
class Load:
    """``run`` clients until ``requests`` were sent."""

    ports: Sequence[int]
    key: str
    model: str
    requests: int
    chance: Random
    clients: int = 48
    told: Told = field(default_factory=Told)

    async def run(self) -> None:
        numbers = [self.chance.getrandbits(64) for _ in range(self.clients)]
        await asyncio.gather(*(self._client(Random(number)) for number in numbers))

    async def _client(self, chance: Random) -> None:
        place = chance.randrange(len(self.ports))
        while self.told.sent < self.requests:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self.ports[place])
            except OSError:
                self.told.unheard += 1
                place = (place + 1) % len(self.ports)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            try:
                while self.told.sent < self.requests:
                    await self._ask(chance, reader, writer)
            except Left:
                self.told.left += 1
                self.told.sent += 1
            except (Broken, OSError, TimeoutError, asyncio.IncompleteReadError):
                self.told.broken += 1
                self.told.sent += 1
                place = (place + 1) % len(self.ports)
                await asyncio.sleep(PAUSE_SECONDS)
            finally:
                writer.transport.abort()

    async def _ask(
        self, chance: Random, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        kind = chance.random()
        stream = kind < ABORTS + STREAMS
        tokens = chance.randint(8, 40) if stream else chance.randint(1, 4)
        writer.write(self._request(stream=stream, tokens=tokens))
        async with asyncio.timeout(SECONDS_MAX):
            if kind < ABORTS:
                await self._leave(chance, reader)
                return
            status, request_id, done = await answer_of(reader)
        self.told.statuses[status] += 1
        if status != 200:
            await asyncio.sleep(PAUSE_SECONDS)
            return
        self.told.sent += 1
        if done:
            self.told.whole.append(request_id)

    async def _leave(self, chance: Random, reader: asyncio.StreamReader) -> None:
        """Hang up: at once, after the head, or somewhere in the stream."""
        place = chance.randrange(3)
        if place:
            await reader.readuntil(b"\r\n\r\n")
        if place == 2:
            await reader.readuntil(b"data: ")
        await asyncio.sleep(chance.random() * 0.05)
        raise Left

    def _request(self, *, stream: bool, tokens: int) -> bytes:
        body = json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": "Which node runs this?"}],
                "max_tokens": tokens,
                "stream": stream,
            }
        ).encode()
        return (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\n"
            b"authorization: Bearer %b\r\ncontent-type: application/json\r\n"
            b"content-length: %d\r\n\r\n%b" % (self.key.encode(), len(body), body)
        )


async def answer_of(reader: asyncio.StreamReader) -> tuple[int, str, bool]:
    """Status, request id, and whether the answer was whole: for a stream, up to its mark."""
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    status = int(head[9:12])
    request_id = _field(head, b"x-request-id")
    if length := _field(head, b"content-length"):
        body = await reader.readexactly(int(length))
        return status, request_id, bool(body)
    last = b""
    while size := int(await _line(reader), 16):
        last = (await reader.readexactly(size + 2))[-64:]
    await reader.readexactly(2)
    return status, request_id, b"[DONE]" in last


async def _line(reader: asyncio.StreamReader) -> bytes:
    line = await reader.readline()
    if not line.endswith(b"\n"):
        raise Broken
    return line


def _field(head: bytes, name: bytes) -> str:
    found = head.partition(b"\r\n" + name + b": ")[2]
    return found.partition(b"\r\n")[0].decode()
