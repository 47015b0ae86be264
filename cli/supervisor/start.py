"""The start: what is begun when, what is waited for, until the product can be used."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from cli.embedded import Postgres, Valkey
from cli.faults import CliError
from cli.settings import RunnerSettings
from cli.supervisor import gpus, preflight, probe, schema
from cli.supervisor.display import Display
from cli.supervisor.environment import ADMIN_EMAIL, Layout, big_program, common, python_module
from cli.supervisor.home import Home
from cli.supervisor.parts import Part
from cli.supervisor.plan import Plan
from cli.supervisor.preflight import Listener
from cli.supervisor.seeds import Demo, Seeds
from kernel.clock import NS, Clock

READY_SECONDS_MAX = 90.0
POLL_SECONDS = 0.03
STATE_POLL_SECONDS = 0.1
ADMIN_SECONDS_MAX = 60.0
IMAGE_SECONDS_MAX = 300.0


@dataclass(frozen=True)
class Ready:
    """What a run offers once it is up. ``simulated`` counts GPUs that do not exist."""

    layout: Layout
    demo: Demo
    node: dict[str, Any] | None
    simulated: int
    pool: str
    seconds: float


def lay_out(settings: RunnerSettings, home: Home) -> Layout:
    """Where everything will be. Everything that can be known to be wrong is refused here."""
    brain_port, gateway_port, front_port, ssh_port = preflight.free_ports(
        [
            (settings.brain_host, settings.brain_port),
            (settings.gateway_host, settings.gateway_port),
            (settings.pod_front_host, settings.pod_front_port),
            (settings.ssh_host, settings.ssh_port),
        ]
    )
    listeners = [
        Listener("brain", settings.brain_host, brain_port, "BRAIN_PORT"),
        Listener("gateway", settings.gateway_host, gateway_port, "GATEWAY_PORT"),
        Listener("front of pods", settings.pod_front_host, front_port, "POD_FRONT_PORT"),
        Listener("SSH of pods", settings.ssh_host, ssh_port, "SSH_PORT"),
    ]
    preflight.check_different(listeners)
    preflight.check_all(home.folder, listeners)
    preflight.raise_open_files()
    return Layout(
        home=home.folder,
        brain_host=settings.brain_host,
        brain_port=brain_port,
        gateway_host=settings.gateway_host,
        gateway_port=gateway_port,
        database_url=settings.database_url or Postgres(home.folder).url(),
        redis_url=settings.redis_url or Valkey(home.folder).url(),
        front_host=settings.pod_front_host,
        front_port=front_port,
        ssh_host=settings.ssh_host,
        ssh_port=ssh_port,
    )


class Start:
    """``add`` takes a part that is to be kept and returns once it runs; ``drop`` stops one."""

    def __init__(
        self,
        settings: RunnerSettings,
        plan: Plan,
        seeds: Seeds,
        *,
        layout: Layout,
        display: Display,
        clock: Clock,
        add: Callable[[Part], Awaitable[None]],
        drop: Callable[[str], Awaitable[None]],
    ) -> None:
        self._settings = settings
        self._plan = plan
        self._seeds = seeds
        self._layout = layout
        self._display = display
        self._clock = clock
        self._add = add
        self._drop = drop

    async def run(self) -> Ready:
        await self._stores()
        with self._display.step("database schema"):
            await schema.ensure(self._layout.database_url, self._plan.brain_environment())
        if self._settings.local_node and self._plan.runs_containers():
            with self._display.step("the stand-in's image"):
                await asyncio.to_thread(_make_image)
        simulated = await self._simulated_gpus()
        await self._programs(simulated)
        with self._display.step("brain", self._layout.brain_url):
            await self._until("brain", self._brain_ready, POLL_SECONDS)
        if self._settings.local_node:
            await self._join(simulated)
        with self._display.step("demo account and pool"):
            demo = await asyncio.to_thread(self._seeds.demo)
            pool = await asyncio.to_thread(self._seeds.pool)
        await self._usable(pool, demo.key)
        node = await asyncio.to_thread(self._seeds.node) if self._settings.local_node else None
        return Ready(self._layout, demo, node, simulated, pool, self._display.seconds)

    async def afterwards(self) -> None:
        """What the first request does not need, so that it does not wait for it."""
        await self._add(self._plan.front())

    async def _stores(self) -> None:
        async with asyncio.TaskGroup() as group:
            if not self._settings.database_url:
                group.create_task(self._begin("PostgreSQL", self._plan.postgres()))
            if not self._settings.redis_url:
                group.create_task(self._begin("Valkey", self._plan.valkey()))

    async def _programs(self, simulated: int) -> None:
        """All at once: each waits by itself for those that it needs."""
        await self._add(self._plan.brain())
        await self._add(self._plan.gateway())
        if self._settings.local_node and self._seeds.node_id():
            await self._add(self._plan.agent(simulate_gpus=simulated, join_token=""))
        await self._add(self._plan.worker())

    async def _join(self, simulated: int) -> None:
        """Let the local agent join where it has not yet, or no longer, a place here."""
        token = await asyncio.to_thread(self._seeds.join_token)
        if token:
            await self._drop("agent")
            await self._add(self._plan.agent(simulate_gpus=simulated, join_token=token))

    async def _usable(self, pool: str, key: str) -> None:
        """Wait until a request can be answered."""
        async with asyncio.TaskGroup() as group:
            url = self._layout.gateway_url
            group.create_task(self._see("gateway", url, self._gateway_ready, POLL_SECONDS))
            if self._settings.local_node:
                group.create_task(
                    self._see("node", "this machine", self._node_online, STATE_POLL_SECONDS)
                )
        if self._settings.local_node:
            await self._see(
                "first answer", pool, lambda: self._pool_answers(key), STATE_POLL_SECONDS
            )

    async def _simulated_gpus(self) -> int:
        if self._settings.simulate_gpus is not None:
            return self._settings.simulate_gpus
        return 0 if await gpus.real_gpus() else gpus.SIMULATED

    async def _brain_ready(self) -> bool:
        layout = self._layout
        return await probe.answers(layout.brain_host, layout.brain_port, "/health/ready")

    async def _gateway_ready(self) -> bool:
        layout = self._layout
        return await probe.answers(layout.gateway_host, layout.gateway_port, "/health/ready")

    async def _node_online(self) -> bool:
        node = await asyncio.to_thread(self._seeds.node)
        return node is not None and node.get("state") == "online"

    async def _pool_answers(self, key: str) -> bool:
        """A real request of one token: the rows may yet show the last run's worker as ready."""
        return await asyncio.to_thread(self._seeds.answers, key)

    async def _begin(self, name: str, part: Part) -> None:
        with self._display.step(name):
            await self._add(part)

    async def _see(
        self, name: str, note: str, check: Callable[[], Awaitable[bool]], every: float
    ) -> None:
        with self._display.step(name, note):
            await self._until(name, check, every)

    async def _until(self, name: str, check: Callable[[], Awaitable[bool]], every: float) -> None:
        deadline = self._clock.monotonic_ns() + int(READY_SECONDS_MAX * NS)
        while not await check():
            if self._clock.monotonic_ns() > deadline:
                raise CliError(
                    f"The {name} was not ready within {READY_SECONDS_MAX:.0f} s.",
                    f"The logs say more: {self._layout.home / 'logs'}",
                    code="not_ready",
                )
            await self._clock.sleep(every)


def _make_image() -> None:
    """The pool's first worker runs in Docker, and its image is in no registry."""
    done = subprocess.run(
        python_module("standins.image"),
        env=common(os.environ),
        capture_output=True,
        text=True,
        timeout=IMAGE_SECONDS_MAX,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.strip().splitlines()[-1:] or ["no message"]
        raise CliError(
            said[0],
            "Start Docker, or set DOCKER_HOST; with AGENT_ENGINE=process none is needed.",
            code="no_docker",
        )


def admin_maker(plan: Plan, home: Home) -> Callable[[], None]:
    """Makes the administrator in the database, in a process of its own: it needs the brain's
    code, which the supervisor does not carry for the rest of its life."""

    def make() -> None:
        done = subprocess.run(
            big_program("cli.main", "admin", "create", ADMIN_EMAIL, "--password-stdin"),
            input=home.secrets()["ADMIN_PASSWORD"],
            env=plan.brain_environment(),
            capture_output=True,
            text=True,
            timeout=ADMIN_SECONDS_MAX,
            check=False,
        )
        if done.returncode != 0:
            said = (done.stderr or done.stdout).strip().splitlines()[-1:] or ["no message"]
            raise CliError(f"The administrator could not be made: {said[0]}")

    return make
