"""Runs worlds: one seed from its beginning to its rest, with every law after every step."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import asyncpg

from kernel.clock import ManualClock
from tests.sim.whole.beginning import START_NS, Shape, make_world
from tests.sim.whole.broken import Broken
from tests.sim.whole.ground import Server
from tests.sim.whole.laws import Laws
from tests.sim.whole.life import World
from tests.sim.whole.look import CONNECTION
from tests.sim.whole.loop import run_in_world
from tests.sim.whole.process import PlainDb
from tests.sim.whole.rest import STEPS_MAX, as_broken, left_over, unsettled
from tests.sim.whole.trouble import peace, trouble

STEPS = 60
REST_SECONDS = (8.0, 24.0)  # of a step of the rest: nothing but time is in anyone's way
LOOK_EVERY = 3  # steps of the rest until it is asked again whether all has come right
LONG_SECONDS = 60.0  # of a step, once only what takes long can be left


@dataclass
class Result:
    """``broken``: what broke first, and what else did in the same step."""

    seed: int
    steps: int = 0
    faults: int = 0
    checks: int = 0
    broken: list[Broken] = field(default_factory=list)
    trace: list[str] = field(default_factory=list)
    digest: str = ""


class Stop(Exception):
    """A law is broken."""

    def __init__(self, broken: list[Broken]) -> None:
        super().__init__(str(broken[0]))
        self.broken = broken


def run_seed(seed: int, server: Server, *, steps: int = STEPS, own_images: bool = False) -> Result:
    """One world from beginning to end. The same seed makes the same trace."""
    clock = ManualClock(START_NS)
    shape = Shape(own_images=own_images)
    return run_in_world(clock, _run(seed, server.fresh_database(), clock, steps, shape))


async def _run(seed: int, url: str, clock: ManualClock, steps: int, shape: Shape) -> Result:
    db = PlainDb(url)
    connection = await asyncpg.connect(url, server_settings=dict(CONNECTION))
    world = await make_world(seed, db, url, clock, shape)
    laws, result = Laws(connection), Result(seed)
    try:
        await _live(world, laws, steps)
        await _rest(world, laws)
    except Stop as stop:
        result.broken = stop.broken
    await finish(world, laws, result)
    await connection.close()
    await db.close()
    return result


async def finish(world: World, laws: Laws, result: Result) -> None:
    """The end of the world: everyone in it ends, and what it was is written down."""
    for process in world.processes:
        process.die("at the end of the world")
    await world.ground.turns.quiet()
    result.steps, result.faults, result.checks = world.trace.step, world.faults.count, laws.checks
    result.trace, result.digest = list(world.trace.lines), world.trace.digest


async def judge(world: World, laws: Laws) -> None:
    broken = await laws.check(world)
    if broken:
        raise Stop(broken)


async def _live(world: World, laws: Laws, steps: int) -> None:
    for _ in range(steps):
        await trouble(world)
        await world.step()
        await judge(world, laws)


async def _rest(world: World, laws: Laws) -> None:
    await peace(world)
    await _until(world, laws, unsettled, "what is asked comes to be")
    await world.people.stop_all(world.webs[0])
    if world.own_images is not None:
        world.own_images.end_all(world.webs[0])
    await _until(world, laws, left_over, "what is stopped goes away")


async def _until(
    world: World, laws: Laws, left: Callable[[World], Awaitable[list[str]]], law: str
) -> None:
    for number in range(STEPS_MAX):
        long = number >= STEPS_MAX // 2
        await world.step(LONG_SECONDS if long else world.chance.uniform(*REST_SECONDS))
        await judge(world, laws)
        if number % LOOK_EVERY:
            continue
        found = await left(world)
        if not found:
            laws.checks += 1
            return
    raise Stop(as_broken(law, await left(world)))
