"""A whole product, and a host beside it that a test may harm: behind a network of its own, with a
Docker of its own whose containers outlive it, and the real agent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import docker
import openai

from tests.support.agent_process import AgentProcess
from tests.support.dockerd import Dockerd
from tests.support.four_laws import (
    LeaseRow,
    Witness,
    as_processes,
    in_docker,
    leases,
    nothing_billed_after_the_end,
    nothing_sold_twice,
    open_leases,
)
from tests.support.installation import Installation
from tests.support.node_net import NodeNet
from tests.support.own_dockerd import own_daemon
from tests.support.two_networks import firewall_programs
from tests.support.wait import free_port, until
from tests.support.worker_image import worker_image

MODEL, NAME = "ganglion/stand-in", "mine"
IMAGE = "ganglion/stand-in:dev"
ONLINE_SECONDS, READY_SECONDS = 120, 180
GPUS = 3  # of each host; the shared pool's own replica takes one


@dataclass
class Scene:
    """``far`` is the host that is harmed, ``near`` another one, which is not started yet."""

    product: Installation
    net: NodeNet
    engine: Dockerd
    witness: Witness
    ttl_seconds: int
    folder: Path
    brain_port: int = field(default_factory=free_port)
    gateway_port: int = field(default_factory=free_port)

    def start_product(self) -> None:
        """On the same ports each time; there is nowhere to place work but on the two hosts."""
        ready = self.product.start(
            *("--no-node", "--brain-port", str(self.brain_port)),
            *("--gateway-port", str(self.gateway_port)),
            extra={
                "BRAIN_HOST": self.net.outside,
                "GATEWAY_LINK_HOST": self.net.outside,
                "LEASE_TTL_SECONDS": str(self.ttl_seconds),
                "USE_MOCK_PROVIDERS": "false",
            },
        )
        log = self.product.home.parent / f"{self.product.home.name}.up.log"
        assert "brain_url" in ready, f"{ready} {log.read_text()[-3000:]}"

    def far(self, **more: str) -> AgentProcess:
        token = self.product.ask("nodes", "join")["token"]
        return AgentProcess(
            self.folder / "far",
            self.product.ready["brain_url"],
            within=self.net.command,
            JOIN_TOKEN=token,
            AGENT_NAME="far",
            AGENT_ENGINE="docker",
            DOCKER_HOST=self.engine.url,
            AGENT_DISK_RESERVE_MIB="0",
            SIMULATE_GPUS=str(GPUS),
            **more,
        )

    def near(self) -> AgentProcess:
        token = self.product.ask("nodes", "join")["token"]
        agent = AgentProcess(
            self.folder / "near",
            self.product.ready["brain_url"],
            JOIN_TOKEN=token,
            AGENT_NAME="near",
            SIMULATE_GPUS=str(GPUS),
        )
        self.witness.looks.append(as_processes(agent))
        return agent

    async def online(self, name: str) -> None:
        def stands() -> bool:
            states = {node["name"]: node["state"] for node in self.product.ask("nodes", "list")}
            return states.get(name) == "online"

        await until(stands, ONLINE_SECONDS, every=1, why=f"{name} is online")

    async def deploy(self, replicas: int) -> set[str]:
        """The leases of the deployment's replicas, once all are ready and seen to run."""
        done = self.product.run("deploy", MODEL, "--name", NAME, "--replicas", str(replicas))
        assert done.returncode == 0, done.stdout + done.stderr
        await self.ready(replicas)
        held = self.held()
        await until(lambda: held <= set(self.witness.running()), 30, why="it is seen to run")
        return held

    async def ready(self, replicas: int) -> None:
        def all_are() -> bool:
            return bool(self.shown()["ready_replicas"] == replicas)

        await until(all_are, READY_SECONDS, every=1, why=f"{replicas} replicas are ready")

    def shown(self) -> dict[str, Any]:
        found: dict[str, Any] = self.product.ask("deployments", "show", NAME)
        return found

    def held(self) -> set[str]:
        """The leases that the deployment's replicas hold now."""
        return {one["lease_id"] for one in self.shown()["replica_list"] if one["lease_id"]}

    async def serves(self) -> None:
        """A chat request through the gateway is answered."""
        ready = self.product.ready
        base_url = f"{ready['gateway_url']}/v1"
        client = openai.OpenAI(base_url=base_url, api_key=ready["api_key"], max_retries=0)

        def answers() -> bool:
            try:
                said = client.chat.completions.create(
                    model=NAME, messages=[{"role": "user", "content": "Hello"}], max_tokens=8
                )
            except openai.APIError as failure:
                raise AssertionError(str(failure)) from failure
            return "stand-in" in str(said.choices[0].message.content)

        await until(answers, 60, every=1)

    async def settled(self, *lease_ids: str) -> None:
        """The bills of these leases are final."""
        wanted = set(lease_ids)

        def final() -> bool:
            told = self.receipt()["leases"]
            return wanted <= {one["lease_id"] for one in told if one["final"]}

        await until(final, READY_SECONDS, every=2, why="the bills are final")

    def receipt(self) -> dict[str, Any]:
        found: dict[str, Any] = self.product.ask("receipt", self.shown()["deployment_id"])
        return found

    async def end(self) -> None:
        """Stop the deployment: its work ends, its leases close, its bills are final."""
        held = self.held()
        assert self.product.run("stop", NAME).returncode == 0
        await until(lambda: not held & set(self.witness.running()), 120, why="its work ended")
        await self.settled(*held)

    async def laws(self) -> list[LeaseRow]:
        """What holds at any moment: nothing sold twice, nothing billed after the end."""
        rows = await leases(self.product)
        nothing_sold_twice(rows, self.witness.runs)
        nothing_billed_after_the_end(self.receipt(), rows)
        return rows

    async def open_leases(self) -> set[str]:
        return open_leases(await leases(self.product))

    async def renewed_since(self, at_ns: int) -> None:
        """Every open lease was renewed after that: the agent told of its work, and was heard."""

        async def renewed() -> bool:
            rows = [row for row in await leases(self.product) if row.closed_ns is None]
            return bool(rows) and all(row.renewed_ns > at_ns for row in rows)

        assert await until(renewed, ONLINE_SECONDS, every=2, why="all leases are renewed")

    def containers(self) -> dict[str, str]:
        """What runs in the host's Docker: its id and start, by lease."""
        client = docker.APIClient(base_url=self.engine.url, version="auto", timeout=30)
        found = {}
        for one in client.containers(filters={"label": "ganglion.lease"}):
            state = client.inspect_container(one["Id"])["State"]
            found[one["Labels"]["ganglion.lease"]] = f"{one['Id']} {state['StartedAt']}"
        client.close()
        return found


@contextmanager
def scene(
    product: Installation, net: NodeNet, folder: Path, *, ttl_seconds: int
) -> Iterator[Scene]:
    """The product runs, the host's Docker too, with the model's image; the host has no agent yet.

    Needs the run's own dockerd to be possible, and ``net`` to be gone after it.
    """
    programs = firewall_programs()
    with own_daemon(folder, live_restore=True, programs=programs, network=net.name) as engine:
        client = docker.APIClient(base_url=engine.url, version="auto", timeout=60)
        worker_image(client, IMAGE)
        client.close()
        witness = Witness([in_docker(engine.url)])
        made = Scene(product, net, engine, witness, ttl_seconds, folder)
        made.start_product()
        witness.start()
        try:
            yield made
        finally:
            witness.stop()


def clean(agents: list[AgentProcess]) -> None:
    for agent in agents:
        agent.clean()
