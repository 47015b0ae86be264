"""Death at every mark: one process dies there, another goes on, and nothing is lost or doubled.

A small life is lived once to learn its marks: those in the code, each commit, each call to a
cloud. Then it is lived again for each of them, with one death at its first reach.
"""

from __future__ import annotations

from collections.abc import Callable

import asyncpg

from brain.deployments import tasks
from brain.provisioning.core import tag_prefix
from kernel.clock import ManualClock
from standins.clouds.faults import Fault, FaultKind, Operation, When
from standins.clouds.machine import Rental
from tests.sim.whole.beginning import START_NS, Shape, make_world
from tests.sim.whole.brain import INSTALLATION
from tests.sim.whole.broken import Broken
from tests.sim.whole.ground import Server
from tests.sim.whole.laws import Laws
from tests.sim.whole.life import World
from tests.sim.whole.loop import run_in_world
from tests.sim.whole.process import PlainDb
from tests.sim.whole.rest import as_broken, left_over
from tests.sim.whole.run import Result, Stop, finish, judge
from tests.sim.whole.skies import KINDS

SEED = 7
READY_STEPS = 60
END_STEPS = 60
QUARANTINE_STEPS = 45
LONG_SECONDS = 25.0


def run_crashes(ground: Server, every: int, lines: int) -> list[Result]:
    """All deaths at all clouds, or each ``every``-th of them; says how many there were."""
    results, deaths = [], []
    for cloud in KINDS:
        quiet, marks = live(cloud, ground)
        results.append(quiet)
        deaths += [(cloud, mark) for mark in marks]
    for cloud, mark in deaths[::every]:
        result, _ = live(cloud, ground, mark)
        results.append(result)
        if result.broken:
            print("\n".join(result.trace[-lines:]))
            print(f"BROKEN cloud={cloud} death={mark!r}: {result.broken[0]}")
    points = len({mark for _, mark in deaths})
    print(f"points={points} clouds={len(KINDS)} deaths={len(deaths[::every])} of {len(deaths)}")
    return results


def live(cloud: str, ground: Server, mark: str = "") -> tuple[Result, list[str]]:
    """One small life on one cloud, with one death at ``mark``. Its marks come back with it."""
    clock = ManualClock(START_NS)
    return run_in_world(clock, _live(cloud, ground.fresh_database(), clock, mark))


async def _live(cloud: str, url: str, clock: ManualClock, mark: str) -> tuple[Result, list[str]]:
    db = PlainDb(url)
    connection = await asyncpg.connect(url)
    shape = Shape(webs=1, workers=2, nodes=0, clouds=(cloud,), mood=0.0)
    world = await make_world(SEED, db, url, clock, shape)
    world.faults.on = False
    world.ground.doom = _once(world, mark)
    laws, result = Laws(connection), Result(SEED)
    try:
        await _story(world, laws)
        if mark and not world.faults.counts["death"]:
            raise Stop([Broken("the mark is reached again", mark)])
    except Stop as stop:
        result.broken = stop.broken
    await finish(world, laws, result)
    await connection.close()
    await db.close()
    return result, sorted(world.ground.reached)


def _once(world: World, mark: str) -> Callable[[str], bool]:
    def doom(name: str) -> bool:
        if not mark or name != mark or world.faults.counts["death"]:
            return False
        world.faults.happens("death")
        return True

    return doom


async def _story(world: World, laws: Laws) -> None:
    """Two machines are rented, one of them by a call whose answer is lost; a third is nobody's."""
    sky = world.skies[0].world
    sky.add_faults([Fault(FaultKind.CUT, Operation.CREATE, next=1, when=When.AFTER)])
    while not world.people.asked:
        world.people.deploy(world.webs[0], replicas=2)
        await _steps(world, laws, 1)
    await _until_ready(world, laws)
    key = sorted(sky.stocks)[0]
    stray = f"{tag_prefix(INSTALLATION)}{'0' * 32}-1"
    sky.create(Rental(key, tag=stray, gpus=sky.stocks[key].gpus))
    for _ in range(QUARANTINE_STEPS):
        await world.pass_time(LONG_SECONDS)
        for worker in world.workers:
            worker.tick(tasks.SWEEP)
        await _steps(world, laws, 1)
    await world.people.stop_all(world.webs[0])
    for _ in range(END_STEPS):
        await world.people.stop_all(world.webs[0])
        await _steps(world, laws, 1)
        left = await left_over(world)
        if not left:
            return
    raise Stop(as_broken("what is stopped goes away", left))


async def _until_ready(world: World, laws: Laws) -> None:
    for _ in range(READY_STEPS):
        await _steps(world, laws, 1)
        ready = sum(len(agent.host.working()) for agent in world.agents)
        if ready >= 2:
            return
    raise Stop([Broken("two replicas come up", str([a.name for a in world.agents]))])


async def _steps(world: World, laws: Laws, count: int) -> None:
    for _ in range(count):
        await world.step()
        await judge(world, laws)
