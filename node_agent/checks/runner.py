"""Who does a check's work: a child process on this host, or the worker image on a GPU."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import DEVNULL, PIPE, Process
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

from kernel.wire.agent import CheckOrder
from node_agent.gpu import is_simulated

CODE_ROOT = Path(__file__).resolve().parents[2]
LINE_BYTES_MAX = 1 << 20
END_SECONDS_MAX = 5.0
DOCKER_SECONDS = 120  # for the image's own start, beside the check's time


class NotAble(Exception):
    """This agent has no means to run such a check; says why."""


class WorkerDied(Exception):
    """The process that did the work ended before it answered."""


class Worker(Protocol):
    """One check's worker. ``ask`` sends one line and waits for one; raises ``WorkerDied``."""

    async def ask(self, line: dict[str, Any]) -> dict[str, Any]: ...

    async def end(self) -> None:
        """Gone when it returns, whatever it was doing: its memory is free."""
        ...


class Runner(Protocol):
    async def start(self, order: CheckOrder) -> Worker:
        """A worker for this check, or ``NotAble``."""
        ...


class ProcessWorker:
    """A child process that speaks JSON lines and sets its own limits.

    ``cleaner``: a command that ends what the process had another one (the engine) do for it.
    """

    def __init__(self, process: Process, cleaner: Sequence[str] = ()) -> None:
        self._process = process
        self._cleaner = cleaner

    async def ask(self, line: dict[str, Any]) -> dict[str, Any]:
        process = self._process
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(line).encode() + b"\n")
            await process.stdin.drain()
            told = await process.stdout.readline()
            found = json.loads(told) if told else None
        except (BrokenPipeError, ConnectionResetError, ValueError):
            found = None
        if not isinstance(found, dict):
            raise WorkerDied("The process that did the work ended before it answered.")
        return found

    async def end(self) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.kill()
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(END_SECONDS_MAX):
                await self._process.communicate()  # to the end of its pipes
                if self._cleaner:
                    cleaning = await asyncio.create_subprocess_exec(
                        *self._cleaner, stdin=DEVNULL, stdout=DEVNULL, stderr=DEVNULL
                    )
                    await cleaning.wait()


class ChildRunner:
    """The twin in a child process for simulated GPUs; real ones by the worker image, in which
    the code of this agent is mounted read-only and has one GPU and no network."""

    def __init__(self, docker: str = "") -> None:
        """``docker``: the engine's command line client; empty: real GPUs are not checked."""
        self._docker = docker

    async def start(self, order: CheckOrder) -> Worker:
        limit = str(order.seconds_max)
        if is_simulated(order.gpu_uuid):
            argv = [sys.executable, "-m", "node_agent.checks.child", "cpu", limit]
            return await self._spawn(argv, {"PYTHONPATH": str(CODE_ROOT)})
        if not order.image:
            raise NotAble("The brain names no image that could check a real GPU.")
        if not self._docker:
            raise NotAble("This agent has no container engine to check a real GPU with.")
        cleaner = (self._docker, "rm", "--force", container_name(order))
        return await self._spawn([self._docker, *docker_arguments(order)], {}, cleaner)

    async def _spawn(
        self, argv: list[str], more: dict[str, str], cleaner: Sequence[str] = ()
    ) -> Worker:
        kept = {name: os.environ[name] for name in ("PATH", "DOCKER_HOST") if name in os.environ}
        try:
            process = await asyncio.create_subprocess_exec(
                *argv,
                stdin=PIPE,
                stdout=PIPE,
                stderr=DEVNULL,
                env={**kept, **more},
                start_new_session=True,
                limit=LINE_BYTES_MAX,
            )
        except OSError as problem:
            raise NotAble(f"The check's process does not start: {problem.strerror}.") from None
        return ProcessWorker(process, cleaner)


def container_name(order: CheckOrder) -> str:
    return f"ganglion-{order.check_id}"


def docker_arguments(order: CheckOrder) -> list[str]:
    """The container of a check: one GPU, no network, nothing writable, gone when it ends.

    The inner ``timeout`` ends the work even when nobody is left to remove the container.
    """
    return [
        *("run", "--rm", "--interactive", "--init", "--name", container_name(order)),
        *("--network", "none", "--read-only"),
        *("--cap-drop", "ALL", "--security-opt", "no-new-privileges", "--pids-limit", "256"),
        *("--memory", "16g", "--gpus", f"device={order.gpu_uuid}"),
        *("--label", f"ganglion.check={order.check_id}", "--tmpfs", "/tmp"),  # noqa: S108
        *("--volume", f"{CODE_ROOT}:/ganglion:ro", "--env", "PYTHONPATH=/ganglion"),
        *("--entrypoint", "timeout", order.image, str(order.seconds_max + DOCKER_SECONDS)),
        *("python3", "-m", "node_agent.checks.child", "cuda", str(order.seconds_max)),
    ]
