"""Rented machines come up and go down, and the agents on them with them."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from kernel.clock import NS
from kernel.wire.agent import GpuReading
from tests.sim.whole.agents import Agent
from tests.sim.whole.hosts import Host
from tests.sim.whole.process import INSTALLATION
from tests.sim.whole.skies import gpus_of, is_up, token_of

if TYPE_CHECKING:
    from tests.sim.whole.life import World


def new_agent(world: World, name: str, gpus: list[GpuReading], token: str) -> Agent:
    """A host with a key of its own and a boot clock that is anything, and the agent on it."""
    chance = Random(world.chance.getrandbits(64))
    host = Host(
        name=name,
        gpus=gpus,
        chance=chance,
        faults=world.faults,
        installation=INSTALLATION,
        boot_offset_ns=chance.randrange(3600) * NS,
    )
    key = Ed25519PrivateKey.from_private_bytes(chance.randbytes(32))
    return Agent(host, key, token, world.trace)


def follow_machines(world: World) -> None:
    """What runs on machines is what the clouds say: called whenever time has passed."""
    up = {}
    for sky in world.skies:
        for machine in sky.ours():
            if is_up(machine) and token_of(machine):
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
