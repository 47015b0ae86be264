"""Whose turn it is: one transaction or call at a time, the next one chosen by the seed.

Everything that happens in the simulated world happens in turns. A coroutine that wants a
transaction or a call to the outside waits here; when all the others wait too, or have nothing to
do, chance picks one. So the interleaving of many processes is the seed's, never the machine's.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from random import Random
from typing import Any, Protocol

from kernel.clock import ManualClock
from tests.sim.whole.loop import WorldLoop

TURN_NS = (100_000, 3_000_000)  # how long a turn takes: no two things happen at one moment


class Actor(Protocol):
    """Who takes turns. One that is paused keeps its place and is not picked."""

    @property
    def paused(self) -> bool: ...


@dataclass(eq=False)
class _Waiting:
    actor: Actor
    turn: asyncio.Future[None]


class Turns:
    """One baton. ``take`` and ``give`` may nest inside one task."""

    def __init__(self, chance: Random, clock: ManualClock) -> None:
        self._chance = chance
        self._clock = clock
        self._waiting: list[_Waiting] = []
        self._picked = False
        self._holder: asyncio.Task[Any] | None = None
        self._depth = 0
        self._spinning = False
        self._quiet = asyncio.Event()

    @property
    def mine(self) -> bool:
        """Has the running task the turn already?"""
        return self._holder is not None and self._holder is asyncio.current_task()

    async def take(self, actor: Actor) -> None:
        if self.mine:
            self._depth += 1
            return
        one = _Waiting(actor, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._kick()
        try:
            await one.turn
        except asyncio.CancelledError:
            if one in self._waiting:
                self._waiting.remove(one)
            else:  # picked in the same moment
                self._pass_on()
            raise
        self._holder = asyncio.current_task()
        self._depth = 1

    def give(self) -> None:
        self._depth -= 1
        if self._depth == 0:
            self._pass_on()

    async def quiet(self) -> None:
        """Return when nobody can do anything before time moves on."""
        self._quiet.clear()
        self._kick()
        await self._quiet.wait()

    def _pass_on(self) -> None:
        self._holder = None
        self._picked = False
        self._kick()

    def _kick(self) -> None:
        if not self._spinning and not self._picked:
            self._spinning = True
            asyncio.get_running_loop().call_soon(self._spin)

    def _spin(self) -> None:
        """Wait until everyone has come to a halt, then pick."""
        loop = asyncio.get_running_loop()
        assert isinstance(loop, WorldLoop), "turns are taken in a world"
        if loop.busy:
            loop.call_soon(self._spin)
            return
        self._spinning = False
        ready = [one for one in self._waiting if not one.actor.paused]
        if not ready:
            self._quiet.set()
            return
        chosen = ready[self._chance.randrange(len(ready))]
        self._waiting.remove(chosen)
        self._picked = True
        self._clock.advance(ns=self._chance.randrange(*TURN_NS))
        chosen.turn.set_result(None)
