"""The clients of the proof under kills: seeded, each with a connection of its own, never tired.

A client goes on whatever happens to the product: where nobody answers it tries the next gateway.
What it keeps is small: of each answer that it had whole, the request's id.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from bench.truth_mix import Ask, Caller, Mix
from bench.truth_wire import Broken, Stage, Wire, connect

SECONDS_MAX = 30.0  # of one answer; a worker that dies is replaced within that
PAUSE_SECONDS = 0.3  # after a connection or an answer that failed: who comes back needs the cores
ABORTS = 0.1  # a share of the requests
LEAVES = (None, Stage.HEAD, Stage.EVENT)  # at once, after the head, in the stream
LEAVES_WITHIN_SECONDS = 0.05
AT_ONCE = 0.5  # of those sent twice, at two processes; the others one after the other
NOT_RUN_AGAIN = 409  # the answer to who asks twice, where the first answer was not kept


class Left(Exception):
    """The client itself hung up."""


@dataclass
class Told:
    """What the clients saw. ``sent`` counts requests that were not refused: answered, broken off,
    or given up by the client."""

    sent: int = 0
    whole: list[str] = field(default_factory=list)  # ids of requests that were answered to the end
    keyed: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))  # the same, by key
    statuses: Counter[int] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)  # of what had an answer
    broken: int = 0  # connections that ended in the middle
    left: int = 0  # requests that the client itself gave up
    unheard: int = 0  # nobody listened


@dataclass
class Load:
    """``run`` clients until ``requests`` were sent."""

    ports: Sequence[int]
    callers: Sequence[Caller]
    requests: int
    chance: Random
    clients: int = 48
    told: Told = field(default_factory=Told)

    def __post_init__(self) -> None:
        self.mix = Mix(self.callers)

    async def run(self) -> None:
        numbers = [self.chance.getrandbits(64) for _ in range(self.clients)]
        await asyncio.gather(*(_Client(self, Random(number)).run() for number in numbers))

    @property
    def over(self) -> bool:
        return self.told.sent >= self.requests


class _Client:
    """``again``: what it sends once more, as its key says that this is the same request."""

    def __init__(self, load: Load, chance: Random) -> None:
        self._load = load
        self._told = load.told
        self._chance = chance
        self._again: Ask | None = None

    async def run(self) -> None:
        ports = self._load.ports
        place = self._chance.randrange(len(ports))
        while not self._load.over:
            if not await self._on_one_connection(ports[place]):
                place = (place + 1) % len(ports)
                await asyncio.sleep(PAUSE_SECONDS)

    async def _on_one_connection(self, port: int) -> bool:
        """False when it ended badly."""
        try:
            wire = await connect(port)
        except OSError:
            self._told.unheard += 1
            return False
        try:
            while not self._load.over:
                await self._ask(wire)
        except Left:
            self._told.left += 1
            self._told.sent += 1
        except (Broken, TimeoutError):
            self._told.broken += 1
            self._told.sent += 1
            return False
        finally:
            wire.abort()
        return True

    async def _ask(self, wire: Wire) -> None:
        chance = self._chance
        if self._again is not None:
            ask, self._again = self._again, None
            await self._hear(wire, ask)
        elif chance.random() < ABORTS:
            await self._leave(wire)
        else:
            ask = self._load.mix.one(chance)
            if ask.mark and chance.random() < AT_ONCE:
                port = chance.choice(self._load.ports)
                await asyncio.gather(self._hear(wire, ask), self._beside(port, ask))
                return
            self._again = ask if ask.mark else None
            await self._hear(wire, ask)

    async def _beside(self, port: int, ask: Ask) -> None:
        """Once more, on another connection: it joins, or waits for the other."""
        try:
            other = await connect(port)
        except OSError:
            self._told.unheard += 1
            return
        try:
            await self._hear(other, ask)
        except (Broken, TimeoutError):
            self._told.broken += 1
            self._told.sent += 1
        finally:
            other.abort()

    async def _hear(self, wire: Wire, ask: Ask) -> None:
        """To the end of the answer."""
        async with asyncio.timeout(SECONDS_MAX):
            await wire.ask(ask.request, end=ask.end)
        told = self._told
        told.statuses[wire.status] += 1
        if wire.status != 200:
            await asyncio.sleep(0 if wire.status == NOT_RUN_AGAIN else PAUSE_SECONDS)
            return
        told.sent += 1
        told.kinds[ask.kind] += 1
        if wire.done:
            told.whole.append(wire.request_id)
            if ask.mark:
                told.keyed[ask.mark].add(wire.request_id)

    async def _leave(self, wire: Wire) -> None:
        """Hang up somewhere in a stream."""
        chance = self._chance
        ask, upto = self._load.mix.stream(chance), chance.choice(LEAVES)
        if upto is None:
            wire.send(ask.request)
        else:
            async with asyncio.timeout(SECONDS_MAX):
                await wire.ask(ask.request, upto)
        await asyncio.sleep(chance.random() * LEAVES_WITHIN_SECONDS)
        raise Left
