"""What happens to whole processes, hosts, networks and the database."""

from __future__ import annotations

from kernel.clock import NS
from tests.sim.whole.agents import Agent
from tests.sim.whole.life import World

AWAY_SECONDS = (20, 60, 90, 300)
STALL_SECONDS = (5, 20, 60)
CUT_SECONDS = (20, 40, 90, 300)
PAUSE_SECONDS = (5, 40, 120)


async def trouble(world: World) -> None:
    """Perhaps something, at the beginning of a step."""
    draw = world.chance.random()
    if draw < 0.015:
        world.faults.happens("process killed")
        world.chance.choice(world.processes).die("by kill -9")
    elif draw < 0.027:
        await brain_away(world, world.chance.choice(AWAY_SECONDS))
    elif draw < 0.037:
        stall(world, world.chance.choice(STALL_SECONDS))
    elif draw < 0.055:
        pause(world, world.chance.choice(PAUSE_SECONDS))
    elif draw < 0.150 and world.agents:
        trouble_host(world, world.chance.choice(world.agents))


async def brain_away(world: World, seconds: float) -> None:
    """Every process of the brain dies, and comes back after a while."""
    world.faults.happens("whole brain away")
    for process in world.processes:
        process.die("with the whole brain")
        world.back_ns[process.name] = world.clock.monotonic_ns() + round(seconds * NS)
    await world.ground.turns.quiet()
    await world.pass_time(seconds)


def stall(world: World, seconds: float) -> None:
    world.faults.happens("database stall")
    world.trace.add("world", f"the database stalls for {seconds} s")
    world.faults.stalled_until_ns = world.clock.monotonic_ns() + round(seconds * NS)


def pause(world: World, seconds: float) -> None:
    """One process gets no processor: others overtake it, and its holds run out."""
    process = world.chance.choice(world.processes)
    process.paused_until_ns = world.clock.monotonic_ns() + round(seconds * NS)
    world.faults.happens("process paused")
    process.note(f"gets no processor for {seconds} s")


def trouble_host(world: World, agent: Agent) -> None:
    now = world.clock.monotonic_ns()
    what = world.chance.choice(("cut off", "cut off", "cut off", "agent anew", "boot"))
    world.faults.happens(what)
    world.trace.add(agent.name, what)
    if what == "cut off":
        agent.cut_until_ns = now + world.chance.choice(CUT_SECONDS) * NS
    elif what == "agent anew":
        agent.restart(now)
    else:
        agent.reboot(now)


async def peace(world: World) -> None:
    """Nothing goes wrong any more, and what was cut is whole."""
    world.faults.on = False
    world.other_ticks = 0.0  # nothing that comes right waits for them
    world.faults.stalled_until_ns = 0
    for agent in world.agents:
        agent.cut_until_ns = 0
    for sky in world.skies:
        sky.world.faults.clear()
    for process in world.processes:
        process.paused_until_ns = 0
    await world.ground.turns.quiet()
    world.bury()
