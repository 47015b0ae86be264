"""Runs worlds of money: one seed from its beginning to its rest, all laws after every step."""

from __future__ import annotations

from dataclasses import dataclass, field

from kernel.clock import ManualClock
from tests.sim.money.laws import Laws
from tests.sim.money.trouble import peace, trouble
from tests.sim.money.world import START_NS, World, make_world
from tests.sim.whole.broken import Broken
from tests.sim.whole.ground import Server
from tests.sim.whole.loop import run_in_world

STEPS = 16
# Pages wait a day for their payers, money ripens, slices run out: then all must be quiet.
REST_SECONDS = (60, 3700, 24 * 3600, 3700, 700, 60, 20)


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


def run_seed(seed: int, server: Server, *, steps: int = STEPS) -> Result:
    """One world from beginning to end. The same seed makes the same trace."""
    clock = ManualClock(START_NS)
    return run_in_world(clock, _run(seed, server.fresh_database(), clock, steps))


async def _run(seed: int, url: str, clock: ManualClock, steps: int) -> Result:
    world, db = await make_world(seed, url, clock)
    laws, result = Laws(), Result(seed)
    result.broken = await _live(world, laws, steps)
    for process in world.processes:
        process.die("at the end of the world")
    await world.ground.turns.quiet()
    result.steps, result.faults, result.checks = world.trace.step, world.faults.count, laws.checks
    result.trace, result.digest = list(world.trace.lines), world.trace.digest
    await db.close()
    return result


async def _live(world: World, laws: Laws, steps: int) -> list[Broken]:
    for _ in range(steps):
        await world.step(await trouble(world))
        broken = await laws.check(world)
        if broken:
            return broken
    peace(world)
    gateway = world.meter.gateway
    gateway.back += sorted({*gateway.slices.values(), *gateway.asking.values()})
    gateway.slices.clear()
    gateway.asking.clear()
    for number, seconds in enumerate(REST_SECONDS):
        await world.step(seconds)
        rest = number == len(REST_SECONDS) - 1
        broken = await laws.check(world, rest=rest)
        if broken:
            return broken
    return []
