"""The Docker hand: one hardened container a lease, found again by its labels.

The SDK blocks, so each call runs in a thread and has a limit of its own; the calls themselves
are in ``containers``.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import ParamSpec, TypeVar

from kernel.clock import NS, Clock
from kernel.errors import GanglionError
from kernel.wire.agent import WorkUsage
from node_agent.containers.calls import DockerCalls, Folders
from node_agent.containers.client import Connection
from node_agent.containers.execs import DockerExec, open_exec
from node_agent.containers.images import ImageBook, ImageLimits
from node_agent.containers.options import Rules
from node_agent.containers.pull import Puller, PullLimits
from node_agent.containers.states import Step
from node_agent.engine import EngineAway, Hold, Order
from node_agent.records import Work
from node_agent.report import Progress
from node_agent.volumes import NoVolumes

CALL_SECONDS_MAX = 60.0
GIVE_UP_SECONDS_MAX = 60.0
KILL_SECONDS_MAX = 20.0
POLL_SECONDS = 0.2
STARTS_MAX = 64  # at a time; further ones wait
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """What the host's owner allows; ``rules`` are about each container."""

    rules: Rules = field(default_factory=Rules)
    pull: PullLimits = field(default_factory=PullLimits)
    images: ImageLimits = field(default_factory=ImageLimits)


class DockerEngine:
    """Keeps no state of its own: what runs is what the labels say."""

    kind = "docker"

    def __init__(self, calls: DockerCalls, connection: Connection, clock: Clock) -> None:
        self._calls = calls
        self._connection = connection
        self._clock = clock
        # A pull may take an hour: starts have threads of their own, and short calls never wait.
        self._starts = ThreadPoolExecutor(STARTS_MAX, thread_name_prefix="start")

    async def version(self) -> str | None:
        try:
            return await _in_thread(self._calls.version)
        except EngineAway:
            return None

    async def look(self) -> tuple[Work, ...]:
        return await _in_thread(self._calls.listing)

    async def start(self, order: Order, progress: Progress) -> None:
        given_up = threading.Event()
        loop = asyncio.get_running_loop()
        job = loop.run_in_executor(self._starts, self._calls.start, order, progress, given_up)
        try:
            await asyncio.shield(job)
        except asyncio.CancelledError:
            given_up.set()  # the thread removes what it has made
            await asyncio.wait((job,), timeout=GIVE_UP_SECONDS_MAX)
            if job.done() and not job.cancelled():
                job.exception()
            raise

    async def end(self, work: Work, drain_seconds: float) -> None:
        if not await self._stopped(work, Step.STOP, "SIGTERM", drain_seconds):
            await self._stopped(work, Step.KILL, "SIGKILL", KILL_SECONDS_MAX)
        await _in_thread(self._calls.collect_logs, work)
        await _in_thread(self._calls.remove, work)

    async def collect_logs(self, work: Work) -> None:
        await _in_thread(self._calls.collect_logs, work)

    async def usage(self, work: Work) -> WorkUsage | None:
        return await _in_thread(self._calls.usage, work)

    async def written_mib(self, work: Work) -> int | None:
        return await _in_thread(self._calls.written_mib, work)

    async def gpu_trouble(self, work: Work) -> str:
        return await _in_thread(self._calls.gpu_trouble, work)

    async def execute(
        self, work: Work, command: list[str], *, tty: bool, env: list[str]
    ) -> DockerExec:
        return await open_exec(self._connection, work, command, tty=tty, env=env, clock=self._clock)

    async def hardening(self) -> list[Hold]:
        try:
            return await _in_thread(self._calls.holds)
        except GanglionError as error:
            return [Hold("containers", False, error.detail)]

    async def tidy(self, installation_id: str, busy: set[str]) -> None:
        await _in_thread(self._calls.tidy, installation_id, busy)

    async def close(self) -> None:
        self._starts.shutdown(wait=False, cancel_futures=True)
        await asyncio.to_thread(self._calls.close)

    async def _stopped(self, work: Work, step: Step, signal_name: str, seconds: float) -> bool:
        """Signal it and wait; True when it does not run any more."""
        if not await _in_thread(self._calls.signal, work, step, signal_name):
            return True
        end_ns = self._clock.monotonic_ns() + int(seconds * NS)
        while await _in_thread(self._calls.running, work):
            if self._clock.monotonic_ns() >= end_ns:
                return False
            await self._clock.sleep(POLL_SECONDS)
        return True


def docker_engine(
    work_home: Path,
    *,
    clock: Clock,
    docker_host: str | None,
    runtime: str | None = None,
    limits: Limits | None = None,
    folders: Folders | None = None,
    reserved: Callable[[], int] = lambda: 0,
) -> DockerEngine:
    """The hand on one Docker. ``reserved``: MiB of the disk that volumes may still fill."""
    chosen = limits or Limits(Rules(runtime=runtime))
    connection = Connection(docker_host)
    images = ImageBook(
        work_home / "images.json", chosen.images, now_ns=clock.now_ns, reserved=reserved
    )

    def room() -> str:
        with connection.talk() as api:
            return images.room(api)

    puller = Puller(connection, chosen.pull, clock.monotonic_ns, room)
    calls = DockerCalls(
        connection,
        work_home=work_home,
        rules=chosen.rules,
        images=images,
        puller=puller,
        folders=folders or NoVolumes(),
        monotonic_ns=clock.monotonic_ns,
    )
    return DockerEngine(calls, connection, clock)


async def _in_thread(call: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    try:
        async with asyncio.timeout(CALL_SECONDS_MAX):
            return await asyncio.to_thread(call, *args, **kwargs)
    except TimeoutError:
        raise EngineAway(f"Docker did not answer within {CALL_SECONDS_MAX:.0f} s.") from None
