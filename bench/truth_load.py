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

from bench.truth_wire import Broken, Stage, Wire, connect

SECONDS_MAX = 30.0  # of one answer; a worker that dies is replaced within that
PAUSE_SECONDS = 0.3  # after a connection or an answer that failed: who comes back needs the cores
ABORTS, STREAMS = 0.1, 0.25  # shares of the requests; the rest is plain
LEAVES = (None, Stage.HEAD, Stage.EVENT)  # at once, after the head, in the stream
LEAVES_WITHIN_SECONDS = 0.05
PLAIN_TOKENS, STREAM_TOKENS = (1, 4), (4, 12)


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


def chat(key: str, model: str, tokens: int, *, stream: bool = False, **more: object) -> bytes:
    """A whole request."""
    messages = [{"role": "user", "content": "Which node runs this?"}]
    asked = {"model": model, "messages": messages, "max_tokens": tokens, "stream": stream}
    body = json.dumps(asked | more).encode()
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: gateway\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
    ) % (key.encode(), len(body), body)


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

    def __post_init__(self) -> None:
        self._plain = [chat(self.key, self.model, n) for n in _all(PLAIN_TOKENS)]
        self._streams = [chat(self.key, self.model, n, stream=True) for n in _all(STREAM_TOKENS)]

    async def run(self) -> None:
        numbers = [self.chance.getrandbits(64) for _ in range(self.clients)]
        await asyncio.gather(*(self._client(Random(number)) for number in numbers))

    async def _client(self, chance: Random) -> None:
        place = chance.randrange(len(self.ports))
        while self.told.sent < self.requests:
            try:
                wire = await connect(self.ports[place])
            except OSError:
                self.told.unheard += 1
                place = (place + 1) % len(self.ports)
                await asyncio.sleep(PAUSE_SECONDS)
                continue
            try:
                while self.told.sent < self.requests:
                    await self._ask(chance, wire)
            except Left:
                self.told.left += 1
                self.told.sent += 1
            except (Broken, TimeoutError):
                self.told.broken += 1
                self.told.sent += 1
                place = (place + 1) % len(self.ports)
                await asyncio.sleep(PAUSE_SECONDS)
            finally:
                wire.abort()

    async def _ask(self, chance: Random, wire: Wire) -> None:
        kind = chance.random()
        if kind < ABORTS:
            await self._leave(chance, wire)
        async with asyncio.timeout(SECONDS_MAX):
            await wire.ask(chance.choice(self._streams if kind < ABORTS + STREAMS else self._plain))
        told = self.told
        told.statuses[wire.status] += 1
        if wire.status != 200:
            await asyncio.sleep(PAUSE_SECONDS)
            return
        told.sent += 1
        if wire.done:
            told.whole.append(wire.request_id)

    async def _leave(self, chance: Random, wire: Wire) -> None:
        """Hang up somewhere in a stream."""
        request, upto = chance.choice(self._streams), chance.choice(LEAVES)
        if upto is None:
            wire.send(request)
        else:
            async with asyncio.timeout(SECONDS_MAX):
                await wire.ask(request, upto)
        await asyncio.sleep(chance.random() * LEAVES_WITHIN_SECONDS)
        raise Left


def _all(ends: tuple[int, int]) -> range:
    return range(ends[0], ends[1] + 1)
