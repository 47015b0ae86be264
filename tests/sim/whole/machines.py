"""Rented machines come up and go down, and the agents on them with them."""

from __future__ import annotations

from tests.sim.whole.agents import Agent
from tests.sim.whole.beginning import new_agent
from tests.sim.whole.life import World
from tests.sim.whole.skies import gpus_of, is_up, token_of


def follow_machines(world: World) -> None:
    """What runs on machines is what the clouds say: called whenever time has passed."""
    up = {}
    for sky in world.skies:
        for machine in sky.ours():
            if is_up(machine):
                up[machine.machine_id] = machine
    for machine_id in [key for key in world.rented if key not in up]:
        _down(world, world.rented.pop(machine_id))
    for machine_id, machine in sorted(up.items()):
        if machine_id not in world.rented:
            token = token_of(machine)
            agent = new_agent(world, f"m-{machine_id[:8]}", gpus_of(machine), token)
            world.rented[machine_id] = agent
            world.agents.append(agent)
            agent.trace.add(agent.name, f"is up with {machine.rental.gpus} GPUs: {machine.tag}")


def _down(world: World, agent: Agent) -> None:
    """The machine is no more: neither its work nor its agent."""
    agent.host.runs.clear()
    world.agents.remove(agent)
    agent.trace.add(agent.name, "is down")
