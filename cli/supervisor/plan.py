"""Which parts there are, how each is started, and in which order they are stopped."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from cli.embedded import Postgres, Valkey, child
from cli.supervisor import environment
from cli.supervisor.environment import Layout, big_program, python_module
from cli.supervisor.parts import Exit, Launch, Part
from kernel.clock import Clock

Attach = Callable[[asyncio.subprocess.Process], None]

# Requests end first, and what would give ended work another place; then the work under them, then
# what counts it, then what stores it.
STOP_ORDER = (("gateway", "front", "worker"), ("agent",), ("brain",), ("valkey", "postgres"))
STOP_SECONDS = {"gateway": 4.5, "front": 4.5, "agent": 3.0, "worker": 2.0, "brain": 2.0}


class Plan:
    """Makes the parts of one run."""

    def __init__(
        self,
        layout: Layout,
        *,
        secrets: Mapping[str, str],
        logs: Path,
        clock: Clock,
        exited: Callable[[Exit], None],
        began: Callable[[], None],
    ) -> None:
        self._layout = layout
        self._secrets = secrets
        self._logs = logs
        self._clock = clock
        self._exited = exited
        self._began = began

    def brain_environment(self) -> dict[str, str]:
        return environment.brain(self._layout, self._secrets, os.environ)

    def runs_containers(self) -> bool:
        return environment.runs_containers(os.environ)

    def postgres(self) -> Part:
        async def launch(attach: Attach) -> None:
            # A new one each time: it looks again at what the last one left.
            await Postgres(self._layout.home, spawned=attach, clock=self._clock).start()

        return self._part("postgres", launch, ((signal.SIGINT, 2.0), (signal.SIGQUIT, 1.0)))

    def valkey(self) -> Part:
        async def launch(attach: Attach) -> None:
            await Valkey(self._layout.home, spawned=attach, clock=self._clock).start()

        return self._part("valkey", launch, ((signal.SIGTERM, 2.0),))

    def brain(self) -> Part:
        return self._program("brain", big_program("brain.app"), self.brain_environment())

    def worker(self) -> Part:
        command = big_program(
            *("celery", "-A", "brain.worker", "worker", "-B", "-P", "threads"),
            *("--concurrency", "4", "--loglevel", "WARNING", "--without-gossip"),
            *("--without-mingle", "--schedule", str(self._layout.home / "celerybeat-schedule")),
        )
        return self._program("worker", command, self.brain_environment())

    def gateway(self) -> Part:
        own = environment.gateway(self._layout, self._secrets, os.environ)
        return self._program("gateway", python_module("inference.app"), own)

    def front(self) -> Part:
        own = environment.front(self._layout, self._secrets, os.environ)
        return self._program("front", python_module("inference.pods"), own)

    def agent(self, *, simulate_gpus: int, join_token: str) -> Part:
        own = environment.agent(
            self._layout, os.environ, simulate_gpus=simulate_gpus, join_token=join_token
        )
        return self._program("agent", python_module("node_agent.main"), own)

    def _program(self, name: str, command: Sequence[str], own: Mapping[str, str]) -> Part:
        async def launch(attach: Attach) -> None:
            process = await child.spawn(
                command,
                environment=own,
                folder=self._layout.home,
                output=asyncio.subprocess.PIPE,
            )
            attach(process)

        return self._part(name, launch, ((signal.SIGTERM, STOP_SECONDS[name]),))

    def _part(
        self, name: str, launch: Launch, signals: Sequence[tuple[signal.Signals, float]]
    ) -> Part:
        return Part(
            name=name,
            launch=launch,
            log_place=self._logs / f"{name}.log",
            clock=self._clock,
            exited=self._exited,
            began=self._began,
            stop_signals=signals,
        )
