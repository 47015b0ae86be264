"""The loop: see, decide, act, tell. It owns its pace, and goes on while the brain is away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import structlog
from msgspec.structs import replace
from tenacity import RetryCallState, Retrying
from tenacity.wait import wait_random_exponential

from kernel.clock import NS, Clock
from kernel.errors import GanglionError
from kernel.hosts import is_local
from kernel.wire.agent import Beat, BeatAnswer, LeaseSeen, LeaseSeenState, NvmlState
from node_agent import core
from node_agent.bell import Bell
from node_agent.engine import Engine, EngineAway, Order
from node_agent.extras import Extra, Onlooker
from node_agent.files import mark_heard
from node_agent.gauges import Gauges
from node_agent.gpu import Gpus, is_simulated
from node_agent.health import HealthBook
from node_agent.host import read_host
from node_agent.identity import Identity
from node_agent.link import Brain
from node_agent.logs import LogShelf
from node_agent.one_lease import Standing, over
from node_agent.probe import Probe
from node_agent.records import AgentState, Doing, Phase, Seen, Start, Work
from node_agent.report import Told, report
from node_agent.shipping import ship_logs
from node_agent.sight import Sight
from node_agent.state import StateFile
from node_agent.workshop import Workshop

log = structlog.get_logger(__name__)
BUSY_SECONDS = 0.25  # pause between looks while something changes
CALM_SECONDS = 2.0
GPU_SECONDS = 5.0
PULL_BEAT_SECONDS = 2.0
BEAT_SECONDS_MIN = 0.1
LOCAL_PAUSE_SECONDS_MAX = 1.0
# A brain on this host that is about to start: with the shortest pause, five tries a second for ten.
LOCAL_QUICK_SECONDS, LOCAL_QUICK_TRIES = 0.1, 50
WAKE_PAUSE_SECONDS = 1.0
LOG_SECONDS = 2.0
GAUGE_SECONDS = 2.0
TIDY_SECONDS = 300.0
STOP_SECONDS_MAX = 30.0
STOPPED = "The agent was told to stop, and its work with it."


@dataclass(frozen=True)
class Parts:
    """The agent's hands."""

    brain: Brain
    engine: Engine
    gpus: Gpus
    probe: Probe
    shelf: LogShelf
    store: StateFile
    clock: Clock
    boot_ns: Callable[[], int]
    extras: tuple[Extra, ...] = ()
    onlookers: tuple[Onlooker, ...] = ()
    kept: Callable[[Work], str] = lambda _: ""  # why work must end for what its volumes hold


@dataclass(frozen=True)
class Self:
    """Who and where this agent is."""

    identity: Identity
    host_boot_id: str
    home: Path
    version: str


class Agent:
    """One node's agent. Its records are saved before it acts on them."""

    def __init__(self, parts: Parts, me: Self) -> None:
        self._parts = parts
        self._me = me
        self._state = core.reboot(parts.store.load(me.host_boot_id), me.host_boot_id)
        self._look_bell, self._beat_bell, self._gpu_bell = (Bell(parts.clock) for _ in range(3))
        self._wake_bell = Bell(parts.clock)
        health = HealthBook(parts.probe, parts.boot_ns, on_change=self._look_bell.ring)
        self._sight = Sight(
            parts.engine,
            parts.gpus,
            health,
            Gauges(parts.engine, parts.boot_ns, kept=parts.kept),
            installation_id=me.identity.installation_id,
            boot_ns=parts.boot_ns,
        )
        self._workshop = Workshop(
            parts.engine,
            parts.shelf,
            parts.clock,
            secrets=parts.brain.secrets,
            on_change=self._look_bell.ring,
            on_started=self._started,
            on_start_failed=self._start_failed,
            on_end=self._work_ended,
        )
        self._beat_seconds = float(me.identity.beat_seconds)
        self._failures = 0
        self._heard_ns = parts.boot_ns()
        self._refusal = ""
        self._shown: object = None

    async def run(self) -> None:
        """Runs until it is cancelled. Work goes on when it ends (see ``stop_work``)."""
        await self._sight.read_gpus()
        await self._sight.look()
        await self._sight.health.round(self._sight.patients(self._state))
        async with asyncio.TaskGroup() as tasks:
            for loop in (
                self._watch_loop,
                self._beat_loop,
                self._wake_loop,
                self._gpu_loop,
                self._health_loop,
                self._log_loop,
                self._gauge_loop,
                self._tidy_loop,
            ):
                tasks.create_task(loop(), name=loop.__name__)
            for extra in self._parts.extras:
                tasks.create_task(extra.run(), name=type(extra).__name__)

    async def stop_work(self) -> None:
        """End all work of this installation and tell the brain so, within limits."""
        leases = {
            lease_id: replace(held, ended=held.ended or STOPPED)
            for lease_id, held in self._state.leases.items()
        }
        self._keep(replace(self._state, leases=leases))
        self._sight.heard = True
        end_ns = self._parts.clock.monotonic_ns() + int(STOP_SECONDS_MAX * NS)
        while self._parts.clock.monotonic_ns() < end_ns:
            await self._tick()
            idle = self._sight.engine_ok and not self._workshop.doing()
            if idle and not self._sight.own_works():
                break
            await self._look_bell.wait(BUSY_SECONDS)
        await self._sight.read_gpus()
        await self._tick()
        try:
            async with asyncio.timeout(3.0):
                await self._beat()
        except (GanglionError, TimeoutError) as error:
            log.warning("last_beat_failed", reason=str(error))

    def over(self, away_seconds_max: int) -> str:
        """Why an agent that was started for one lease should end; empty while it goes on."""
        standing = Standing(
            heard_ns=self._heard_ns,
            refusal=self._refusal,
            works=len(self._sight.own_works()),
            busy=bool(self._workshop.doing()),
        )
        return over(self._state, standing, away_seconds_max, self._parts.boot_ns())

    def beat_soon(self) -> None:
        """Something is to be told: the next beat goes out at once."""
        self._beat_bell.ring()

    async def close(self) -> None:
        """Give up the jobs in flight; what runs is left running."""
        await self._workshop.close()

    # See, decide, act.

    async def _watch_loop(self) -> None:
        while True:
            await self._tick()
            await self._look_bell.wait(CALM_SECONDS if self._settled() else BUSY_SECONDS)

    async def _tick(self) -> None:
        doing = self._workshop.doing()
        await self._sight.look()
        seen = self._sight.seen(doing)
        now_ns = self._parts.boot_ns()
        self._keep(core.judge(self._state, seen, now_ns))
        self._ask_for_evidence(seen)
        for action in core.diff(self._state, seen, now_ns):
            if isinstance(action, Start):
                self._start(action, now_ns)
            else:
                self._workshop.end(action)
        self._cancel_unwanted_starts(doing)
        self._show_onlookers()
        self._notice_change(doing)

    def _ask_for_evidence(self, seen: Seen) -> None:
        """Gone work counts once a later look shows its GPUs free: look now, not at the round."""
        waits = any(held.gone_ns > seen.gpus_at_ns for held in self._state.leases.values())
        if waits and seen.nvml is not NvmlState.HUNG:
            self._gpu_bell.ring()

    def _start(self, action: Start, now_ns: int) -> None:
        lease = action.lease
        self._keep(core.starting(self._state, lease.lease_id, now_ns))
        simulated = all(is_simulated(uuid) for uuid in lease.gpu_uuids)
        self._workshop.start(Order(lease, self._me.identity.installation_id, simulated))

    def _started(self, lease_id: str) -> None:
        self._keep(core.started(self._state, lease_id, self._parts.boot_ns()))

    def _start_failed(self, lease_id: str, reason: str, permanent: bool) -> None:
        now_ns = self._parts.boot_ns()
        self._keep(
            core.start_failed(self._state, lease_id, reason, permanent=permanent, now_ns=now_ns)
        )

    def _work_ended(self) -> None:
        self._sight.last_end_ns = self._parts.boot_ns()
        self._gpu_bell.ring()

    def _cancel_unwanted_starts(self, doing: Mapping[str, Doing]) -> None:
        for lease_id, kind in doing.items():
            held = self._state.leases.get(lease_id)
            if kind is Doing.STARTING and (held is None or not core.may_run(held)):
                self._workshop.cancel_start(lease_id)

    def _show_onlookers(self) -> None:
        for onlooker in self._parts.onlookers:
            onlooker.see(self._state, self._sight.own_works())

    def _settled(self) -> bool:
        """Nothing is under way, so that looking less often loses nothing."""
        if self._workshop.doing():
            return False
        lines = self._lines(self._workshop.doing())
        calm = (LeaseSeenState.READY, LeaseSeenState.GONE, LeaseSeenState.FAILED)
        return all(line.state in calm for line in lines)

    def _keep(self, state: AgentState) -> None:
        self._state = state
        self._parts.store.save(state)

    # Tell.

    def _lines(self, doing: Mapping[str, Doing]) -> list[LeaseSeen]:
        told = Told(self._workshop.pulls, self._sight.health.metrics, self._sight.gauges.usage)
        return report(self._state, self._sight.seen(doing), told, self._parts.boot_ns())

    def _notice_change(self, doing: Mapping[str, Doing]) -> None:
        """A change of what is seen is told at once, not at the next beat."""
        view, seen = self._sight.view, self._sight.seen(doing)
        shown = (
            [(x.lease_id, x.state, x.reason, x.port, x.restarts) for x in self._lines(doing)],
            view.state,
            [(g.uuid, g.lost, g.foreign_use) for g in core.told_gpus(self._state, seen)],
        )
        if shown != self._shown:
            self._shown = shown
            self._beat_bell.ring()

    async def _beat_loop(self) -> None:
        while True:
            try:
                await self._beat()
                self._failures = 0
                wait = PULL_BEAT_SECONDS if self._workshop.pulls else self._beat_seconds
            except GanglionError as error:
                self._failures += 1
                again = self._failures > 1 and self._refusal == error.error_code
                self._refusal = error.error_code
                wait = self._wait_after_failure()
                tell = log.debug if again and wait == LOCAL_QUICK_SECONDS else log.warning
                tell("beat_failed", code=error.error_code, reason=error.detail)
            await self._parts.clock.sleep(BEAT_SECONDS_MIN)
            await self._beat_bell.wait(min(wait, self._beat_seconds))

    async def _beat(self) -> None:
        doing = self._workshop.doing()
        sent_ns = self._parts.boot_ns()
        beat = self._compose(doing, sent_ns)
        for extra in self._parts.extras:
            extra.tell(beat)
        answer = await self._parts.brain.beat(beat)
        gone = [x.lease_id for x in beat.leases if x.state is LeaseSeenState.GONE]
        self._apply(answer, gone, sent_ns)

    def _compose(self, doing: Mapping[str, Doing], sent_ns: int) -> Beat:
        view = self._sight.view
        host = read_host(
            self._me.home,
            engine=self._parts.engine.kind,
            engine_version=self._sight.engine_version,
            driver_version=view.driver_version,
        )
        return Beat(
            node_id=self._me.identity.node_id,
            host_boot_id=self._me.host_boot_id,
            generation=self._state.generation,
            nvml=view.state,
            gpus=core.told_gpus(self._state, self._sight.seen(doing)),
            host=host,
            leases=self._lines(doing),
            agent_version=self._me.version,
            renewal_sent_boot_ns=sent_ns,
        )

    def _apply(self, answer: BeatAnswer, gone: list[str], sent_ns: int) -> None:
        state = core.forget(self._state, gone)
        if answer.desired is not None:
            state = core.accept(state, answer.desired, sent_ns)
        self._keep(core.renew(state, answer.renewed, sent_ns))
        for extra in self._parts.extras:
            extra.hear(answer, sent_ns)
        self._show_onlookers()
        if not self._sight.heard or self._failures or answer.desired is not None:
            self._wake_bell.ring()
        if not self._sight.heard or answer.desired is not None:
            log.info("heard", generation=state.generation, leases=len(state.leases))
            self._look_bell.ring()
        self._sight.heard = True
        self._heard_ns, self._refusal = self._parts.boot_ns(), ""
        mark_heard(self._me.home)
        self._beat_seconds = float(min(max(answer.beat_seconds, 1), 300))

    def _wait_after_failure(self) -> float:
        """Longer after each failure and never the same on two nodes, up to the usual beat. A brain
        on this host has no crowd to be spared, and mostly is about to start."""
        local = is_local(self._me.identity.brain_url)
        if local and self._failures <= LOCAL_QUICK_TRIES:
            return LOCAL_QUICK_SECONDS
        most = min(self._beat_seconds, LOCAL_PAUSE_SECONDS_MAX if local else self._beat_seconds)
        state = RetryCallState(Retrying(), None, (), {})
        state.attempt_number = min(self._failures, 10)
        return float(wait_random_exponential(multiplier=0.5, max=most)(state))

    async def _wake_loop(self) -> None:
        while True:
            if self._sight.heard and not self._failures:
                try:
                    await self._parts.brain.wake(self._state.generation)
                    self._beat_bell.ring()
                except GanglionError as error:
                    log.debug("wake_failed", reason=error.detail)
            # An answer that brings news ends the pause: more of it may be there already.
            await self._wake_bell.wait(WAKE_PAUSE_SECONDS)

    # Rounds.

    async def _gpu_loop(self) -> None:
        while True:
            await self._gpu_bell.wait(GPU_SECONDS)
            await self._sight.read_gpus()
            self._look_bell.ring()

    async def _health_loop(self) -> None:
        while True:
            await self._sight.health.round(self._sight.patients(self._state))
            await self._parts.clock.sleep(BUSY_SECONDS)

    async def _log_loop(self) -> None:
        while True:
            running = {w.lease_id for w in self._sight.own_works() if w.phase is Phase.RUNNING}
            for work in self._sight.own_works():
                try:
                    await self._parts.engine.collect_logs(work)
                except EngineAway as away:
                    log.debug("logs_not_collected", reason=away.detail)
            known = self._state.leases
            busy = running | set(self._workshop.doing())
            await ship_logs(self._parts.brain, self._parts.shelf, known=known, running=busy)
            await self._parts.clock.sleep(LOG_SECONDS)

    async def _gauge_loop(self) -> None:
        while True:
            if await self._sight.gauges.round(self._sight.subjects(self._state)):
                self._look_bell.ring()
            await self._parts.clock.sleep(GAUGE_SECONDS)

    async def _tidy_loop(self) -> None:
        while True:
            if self._sight.heard and self._sight.engine_ok:
                doing = self._workshop.doing()
                busy = {*self._state.leases, *doing, *(w.lease_id for w in self._sight.own_works())}
                try:
                    await self._parts.engine.tidy(self._me.identity.installation_id, busy)
                except EngineAway as away:
                    log.debug("not_tidied", reason=away.detail)
            await self._parts.clock.sleep(TIDY_SECONDS)
