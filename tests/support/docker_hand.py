"""The Docker hand in a test: orders for busybox, and looks at what became of them."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import docker
from msgspec.structs import replace

from kernel.clock import SystemClock
from kernel.wire.agent import SecretsAnswer
from node_agent.engine import Order
from node_agent.engine_docker import DockerEngine, docker_engine
from node_agent.records import Work
from node_agent.report import Progress
from tests.support.agent_brain import lease_of
from tests.support.dockerd import remove_all
from tests.support.worker_image import BUSYBOX, busybox_image

INSTALLATION = f"installation-{os.getpid()}"  # xdist's workers share the dockerd


@asynccontextmanager
async def docker_hand(
    address: str, client: docker.APIClient, home: Path, **parts: Any
) -> AsyncIterator[DockerEngine]:
    """A hand whose containers and networks are gone at the end."""
    busybox_image(client)
    engine = docker_engine(home, clock=SystemClock(), docker_host=address, **parts)
    try:
        yield engine
    finally:
        remove_all(client, f"ganglion.installation={INSTALLATION}")
        await engine.tidy(INSTALLATION, set())
        await engine.close()


def order(
    *arguments: str, simulated: bool = True, secrets: SecretsAnswer | None = None, **launch: Any
) -> Order:
    """Busybox running a shell line; the GPU is simulated unless said otherwise."""
    lease = lease_of(["GPU-a"], image=BUSYBOX, arguments=["sh", "-c", *arguments])
    lease = replace(lease, launch=replace(lease.launch, **launch))
    return Order(lease, INSTALLATION, simulated, secrets)


def pod(*arguments: str, secrets: SecretsAnswer | None = None, **launch: Any) -> Order:
    """A renter's own image: no health path, no port but those that are named."""
    chosen = {"engine": "pod", "health_path": "", "port": 0, **launch}
    return order(*arguments, secrets=secrets, **chosen)


async def ours(engine: DockerEngine) -> list[Work]:
    return [work for work in await engine.look() if work.installation_id == INSTALLATION]


async def the_work(engine: DockerEngine, wanted: Order) -> Work | None:
    return next((w for w in await engine.look() if w.lease_id == wanted.lease.lease_id), None)


async def running(engine: DockerEngine, wanted: Order) -> Work:
    await engine.start(wanted, Progress())
    work = await the_work(engine, wanted)
    assert work is not None
    return work


def said_inside(client: docker.APIClient, work: Work, line: str) -> str:
    """What a shell line prints inside the work's container, its errors included."""
    made = client.exec_create(work.ref, ["sh", "-c", line])
    return bytes(client.exec_start(made["Id"])).decode(errors="replace").strip()
