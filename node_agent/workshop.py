"""The long jobs, one a lease at a time: a start with its pull, an end with its drain."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from typing import Any

import structlog

from kernel.clock import Clock
from kernel.errors import GanglionError
from kernel.wire.agent import SecretsAnswer, SecretsRequest
from node_agent.engine import Engine, EngineAway, Order, StartFailed, StartRefused
from node_agent.link import BrainAway
from node_agent.logs import LogShelf
from node_agent.records import Doing, End
from node_agent.report import Progress

log = structlog.get_logger(__name__)
RETRY_SECONDS = 1.0
SECRETS_RETRY_SECONDS = 2.0
AskSecrets = Callable[[SecretsRequest], Awaitable[SecretsAnswer]]
StartOutcome = Callable[[str, str, bool], None]  # lease id, reason, permanent


class Workshop:
    """Starts jobs and knows which are in flight. ``on_change`` is called as each finishes."""

    def __init__(
        self,
        engine: Engine,
        shelf: LogShelf,
        clock: Clock,
        *,
        secrets: AskSecrets,
        on_change: Callable[[], None],
        on_started: Callable[[str], None],
        on_start_failed: StartOutcome,
        on_end: Callable[[], None],
    ) -> None:
        self._engine = engine
        self._shelf = shelf
        self._clock = clock
        self._secrets = secrets
        self._on_change = on_change
        self._on_started = on_started
        self._on_start_failed = on_start_failed
        self._on_end = on_end
        self._jobs: dict[str, tuple[Doing, asyncio.Task[None]]] = {}
        self.pulls: dict[str, Progress] = {}

    def doing(self) -> dict[str, Doing]:
        return {lease_id: kind for lease_id, (kind, _) in self._jobs.items()}

    def start(self, order: Order) -> None:
        lease_id = order.lease.lease_id
        self.pulls[lease_id] = Progress()
        self._begin(lease_id, Doing.STARTING, self._start(order))

    def end(self, action: End) -> None:
        self._begin(action.work.lease_id, Doing.ENDING, self._end(action))

    def cancel_start(self, lease_id: str) -> None:
        """Give a start up; the hand cleans up after itself."""
        job = self._jobs.get(lease_id)
        if job is not None and job[0] is Doing.STARTING:
            job[1].cancel()

    async def close(self) -> None:
        """Give all jobs up and wait for their cleaning."""
        tasks = [task for _, task in self._jobs.values()]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=20.0)

    def _begin(self, lease_id: str, kind: Doing, job: Coroutine[Any, Any, None]) -> None:
        assert lease_id not in self._jobs, "one job a lease at a time"
        task = asyncio.create_task(job, name=f"{kind.value} {lease_id}")
        self._jobs[lease_id] = (kind, task)
        task.add_done_callback(lambda done: self._finished(lease_id, done))

    def _finished(self, lease_id: str, task: asyncio.Task[None]) -> None:
        self._jobs.pop(lease_id, None)
        self.pulls.pop(lease_id, None)
        if not task.cancelled() and task.exception() is not None:
            error = task.exception()
            log.error("job_failed", job=task.get_name(), exc_info=error)
            self._on_start_failed(lease_id, f"The agent failed: {error!r}.", False)
        self._on_change()

    async def _start(self, order: Order) -> None:
        lease_id = order.lease.lease_id
        log.info("starting", lease_id=lease_id, gpus=order.lease.gpu_uuids)
        self._shelf.note(lease_id, f"Starting on {len(order.lease.gpu_uuids)} GPU(s).")
        try:
            if order.lease.launch.secrets:
                order = replace(order, secrets=await self._asked(order))
                self._shelf.hide(lease_id, _values(order.secrets))
            await self._engine.start(order, self.pulls[lease_id])
            self._on_started(lease_id)
        except (StartFailed, StartRefused, EngineAway) as failure:
            permanent = isinstance(failure, StartRefused)
            log.warning("start_failed", lease_id=lease_id, reason=failure.detail)
            self._shelf.note(lease_id, f"The start failed: {failure.detail}")
            self._on_start_failed(lease_id, failure.detail, permanent)

    async def _asked(self, order: Order) -> SecretsAnswer:
        """The secrets of this start, kept nowhere else. A brain that is away is waited for: the
        lease's end cancels the start."""
        request = SecretsRequest(order.lease.lease_id, order.lease.epoch)
        while True:
            try:
                return await self._secrets(request)
            except BrainAway:
                await self._clock.sleep(SECRETS_RETRY_SECONDS)
            except GanglionError as refusal:
                raise StartFailed(f"Its secrets were not given: {refusal.detail}") from None

    async def _end(self, action: End) -> None:
        work = action.work
        log.info("ending", lease_id=work.lease_id, why=action.why, drain=action.drain_seconds)
        self._shelf.note(work.lease_id, f"Ending: {action.why}")
        try:
            await self._engine.end(work, action.drain_seconds)
        except (EngineAway, StartFailed) as failure:
            log.warning("end_failed", lease_id=work.lease_id, reason=failure.detail)
            await self._clock.sleep(RETRY_SECONDS)
            return
        log.info("ended", lease_id=work.lease_id)
        self._on_end()


def _values(given: SecretsAnswer | None) -> list[str]:
    """What no line that is shipped may hold."""
    if given is None:
        return []
    registry = [] if given.registry is None else [given.registry.password]
    return [*given.environment.values(), *registry]
