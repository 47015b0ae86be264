"""Death at every mark: one process dies there, another goes on, and nothing is lost or doubled.

A small life is lived once to learn its marks: those in the code, each commit, each call to a
cloud. Then it is lived again for each of them, with one death at its first reach.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import asyncpg

from brain.deployments import tasks
from kernel.clock import ManualClock
from standins.clouds.faults import Fault, FaultKind, Operation, When
from tests.sim.whole.beginning import START_NS, Shape, make_world
from tests.sim.whole.broken import Broken
from tests.sim.whole.ground import Server
from tests.sim.whole.laws import Laws
from tests.sim.whole.life import World
from tests.sim.whole.look import CONNECTION
from tests.sim.whole.loop import run_in_world
from tests.sim.whole.process import PlainDb
from tests.sim.whole.rest import as_broken, left_over
from tests.sim.whole.run import Result, Stop, finish, judge
from tests.sim.whole.skies import KINDS

SEED = 7
READY_STEPS = 160
END_STEPS = 80
QUARANTINE_STEPS = 45
QUARANTINE_SECONDS = 25.0
OTHER_TICKS = 0.05  # each of them is reached in one life
FLUSH_SECONDS = 12.0  # nobody falls silent here, so that the brain may write more seldom


def run_crashes(
    ground: Server, clouds: Sequence[str], every: int, skipped: int, lines: int
) -> list[Result]:
    """All deaths at these clouds, or each ``every``-th of them; says how many there were."""
    results: list[Result] = []
    deaths: list[tuple[str, str]] = []
    for cloud in clouds:
        quiet, marks = live(cloud, ground)
        results.append(_told(quiet, f"cloud={cloud} with no death", lines))
        deaths += [(cloud, mark) for mark in marks]
    chosen = deaths[skipped % len(deaths) :: every]
    for cloud, mark in chosen:
        result, _ = live(cloud, ground, mark)
        results.append(_told(result, f"cloud={cloud} death={mark!r}", lines))
    points = len({mark for _, mark in deaths})
    named = len({mark for _, mark in deaths if " " not in mark})
    print(
        f"points={points} marks_in_the_code={named} clouds={len(clouds)}"
        f" deaths={len(chosen)} of {len(deaths)}"
    )
    return results


def live(cloud: str, ground: Server, mark: str = "") -> tuple[Result, list[str]]:
    """One small life on one cloud, with one death at ``mark``. Its marks come back with it."""
    clock = ManualClock(START_NS)
    return run_in_world(clock, _live(cloud, ground.fresh_database(), clock, mark))


async def _live(cloud: str, url: str, clock: ManualClock, mark: str) -> tuple[Result, list[str]]:
    db = PlainDb(url)
    connection = await asyncpg.connect(url, server_settings=dict(CONNECTION))
    shape = Shape(webs=1, workers=2, nodes=0, clouds=(cloud,), mood=0.0)
    world = await make_world(SEED, db, url, clock, shape)
    world.faults.on = False
    world.flush_seconds = FLUSH_SECONDS
    world.other_ticks = OTHER_TICKS
    world.ground.doom = _once(world, mark)
    laws, result = Laws(connection), Result(SEED)
    try:
        await _story(world, laws, mark)
        if mark and not _died(world):
            raise Stop([Broken("the mark is reached again", mark)])
    except Stop as stop:
        result.broken = stop.broken
    await finish(world, laws, result)
    await connection.close()
    await db.close()
    return result, sorted(world.ground.reached)


def _once(world: World, mark: str) -> Callable[[str], bool]:
    def doom(name: str) -> bool:
        if not mark or name != mark or _died(world):
            return False
        world.faults.happens("death")
        return True

    return doom


def _died(world: World) -> bool:
    return world.faults.counts["death"] > 0


async def _story(world: World, laws: Laws, mark: str) -> None:
    """Two machines are rented, one of them by a call whose answer is lost. They serve, and are
    stopped. Then a machine is found that nobody rented, unless the death was had before."""
    sky = world.skies[0]
    sky.widen()
    sky.world.add_faults([Fault(FaultKind.CUT, Operation.CREATE, next=1, when=When.AFTER)])
    while not world.people.sure:
        world.people.deploy(world.webs[0], replicas=2)
        await _step(world, laws)
    await _until_ready(world, laws)
    await _stop_all(world, laws)
    if mark and _died(world):
        await _sweep(world, laws, 2)
        return await _nothing_left(world, laws)
    sky.plant_stray()
    for _ in range(QUARANTINE_STEPS):
        await _sweep(world, laws, 1)
    return await _nothing_left(world, laws)


async def _until_ready(world: World, laws: Laws) -> None:
    for _ in range(READY_STEPS):
        await _step(world, laws)
        if sum(len(agent.host.working()) for agent in world.agents) >= 2:
            break
    else:
        raise Stop([Broken("two replicas come up", str([a.name for a in world.agents]))])
    for _ in range(8):
        await _step(world, laws)


async def _stop_all(world: World, laws: Laws) -> None:
    for number in range(END_STEPS):
        if number % 10 == 0:
            await world.people.stop_all(world.webs[0])
        await _step(world, laws)
        if not await left_over(world):
            return
    raise Stop(as_broken("what is stopped goes away", await left_over(world)))


async def _sweep(world: World, laws: Laws, times: int) -> None:
    for _ in range(times):
        await world.pass_time(QUARANTINE_SECONDS)
        for worker in world.workers:
            worker.tick(tasks.SWEEP)
        await _step(world, laws)


async def _nothing_left(world: World, laws: Laws) -> None:
    found = await left_over(world)
    laws.checks += 1
    if found:
        raise Stop(as_broken("nothing is unknown after two sweeps", found))


async def _step(world: World, laws: Laws) -> None:
    await world.step()
    await judge(world, laws)


def _told(result: Result, what: str, lines: int) -> Result:
    if result.broken:
        print("\n".join(result.trace[-lines:]))
        print(f"BROKEN {what}: {result.broken[0].law}: {result.broken[0].said}")
    return result


ALL_CLOUDS = tuple(KINDS)
