"""A GPU host: the agent's real decisions over an engine, GPUs and a clock that are simulated.

What the agent decides is ``node_agent.core`` and what it tells is ``node_agent.report``; here are
only its hands. Its records lie on the host's disk: they outlive the agent's process, and a boot.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from kernel.clock import NS
from kernel.wire.agent import Beat, BeatAnswer, GpuReading, HostReading, LeaseSeenState, NvmlState
from node_agent import core
from node_agent.records import Action, AgentState, Doing, Health, Phase, Seen, Start, Work
from node_agent.report import Told, report
from tests.sim.whole.faults import Faults

START_SECONDS = (1.0, 12.0)
LOAD_SECONDS = (1.0, 25.0)
END_SECONDS = (0.5, 8.0)


@dataclass
class Run:
    """One worker on the host, with what becomes of it and when."""

    work: Work
    runs_at_ns: int
    ready_at_ns: int
    crashes_at_ns: int | None = None
    ends_at_ns: int | None = None


@dataclass
class Host:
    """One machine. Its boot clock is its own; ``installation`` is the brain's name."""

    name: str
    gpus: list[GpuReading]
    chance: Random
    faults: Faults
    installation: str
    boot_offset_ns: int = 0
    boots: int = 1
    starts: int = 1
    state: AgentState = field(init=False)
    runs: dict[str, Run] = field(default_factory=dict)
    heard: bool = False
    agent_started_ns: int = 0
    last_end_ns: int = 0
    looked_ns: int = 0
    number: int = 0

    def __post_init__(self) -> None:
        self.state = AgentState(host_boot_id=self.boot_id)

    @property
    def boot_id(self) -> str:
        return f"{self.name}-boot-{self.boots}"

    @property
    def start_id(self) -> str:
        return f"{self.name}-start-{self.starts}"

    def boot_ns(self, now_ns: int) -> int:
        return now_ns + self.boot_offset_ns

    def restart_agent(self, now_ns: int) -> None:
        """The agent's process anew: the work goes on, the records are read from disk."""
        self.starts += 1
        self.heard = False
        self.agent_started_ns = self.boot_ns(now_ns)

    def reboot(self, now_ns: int) -> None:
        """The whole host anew: no work is left."""
        self.boots += 1
        self.runs.clear()
        self.restart_agent(now_ns)
        self.state = core.reboot(self.state, self.boot_id)

    def tick(self, now_ns: int) -> None:
        """See, decide, act: what the agent's watch loop does."""
        now = self.boot_ns(now_ns)
        self._pass_time(now)
        seen = self.seen(now)
        self.state = core.judge(self.state, seen, now)
        for action in core.diff(self.state, seen, now):
            self._act(action, now)
        self.looked_ns = now

    def seen(self, now: int) -> Seen:
        busy = {uuid for run in self.runs.values() for uuid in run.work.gpu_uuids}
        return Seen(
            installation_id=self.installation,
            works=tuple(run.work for run in self.runs.values() if now >= run.runs_at_ns),
            works_at_ns=now,
            doing=self._doing(now),
            health={key: self._health(run, now) for key, run in self.runs.items()},
            gpus={g.uuid: _with_processes(g, g.uuid in busy) for g in self.gpus},
            gpus_at_ns=now,
            last_end_ns=self.last_end_ns,
            heard=self.heard,
            agent_started_ns=self.agent_started_ns,
        )

    def working(self) -> dict[str, tuple[int, frozenset[str]]]:
        """Leases whose work holds GPUs of this host now: the truth, whatever anyone is told."""
        return {key: (run.work.epoch, run.work.gpu_uuids) for key, run in self.runs.items()}

    def beat(self, node_id: str, now_ns: int) -> Beat:
        now = self.boot_ns(now_ns)
        return Beat(
            node_id=node_id,
            host_boot_id=self.boot_id,
            generation=self.state.generation,
            nvml=NvmlState.OK,
            gpus=core.told_gpus(self.state, self.seen(now)),
            host=HostReading(hostname=self.name, os="Debian 12", cpu_count=8),
            leases=report(self.state, self.seen(now), Told(), now),
            agent_version="1",
            renewal_sent_boot_ns=now,
        )

    def take_answer(self, sent: Beat, answer: BeatAnswer) -> None:
        gone = [one.lease_id for one in sent.leases if one.state is LeaseSeenState.GONE]
        state = core.forget(self.state, gone)
        if answer.desired is not None:
            state = core.accept(state, answer.desired, sent.renewal_sent_boot_ns)
        self.state = core.renew(state, answer.renewed, sent.renewal_sent_boot_ns)
        self.heard = True

    def _act(self, action: Action, now: int) -> None:
        if isinstance(action, Start):
            self._start(action, now)
            return
        run = self.runs[action.work.lease_id]
        if run.ends_at_ns is None:
            drain = min(action.drain_seconds, self.chance.uniform(*END_SECONDS))
            run.ends_at_ns = now + round(drain * NS)

    def _start(self, action: Start, now: int) -> None:
        lease = action.lease
        self.state = core.starting(self.state, lease.lease_id, now)
        if self.faults.strikes("start_refused"):
            self.state = core.start_failed(
                self.state, lease.lease_id, "no such image", permanent=True, now_ns=now
            )
            return
        self.number += 1
        runs = now + round(self.chance.uniform(*START_SECONDS) * NS)
        ready = runs + round(self.chance.uniform(*LOAD_SECONDS) * NS)
        crashes = self.faults.strikes("worker_crash")
        self.runs[lease.lease_id] = Run(
            Work(
                lease_id=lease.lease_id,
                epoch=lease.epoch,
                installation_id=self.installation,
                gpu_uuids=frozenset(lease.gpu_uuids),
                phase=Phase.RUNNING,
                ref=f"{self.name}-{self.number}",
                port=9000 + self.number,
                ttl_seconds=lease.ttl_seconds,
            ),
            runs_at_ns=runs,
            ready_at_ns=ready,
            crashes_at_ns=ready + round(self.chance.uniform(0, 60) * NS) if crashes else None,
        )

    def _pass_time(self, now: int) -> None:
        for key, run in list(self.runs.items()):
            ended = run.ends_at_ns is not None and now >= run.ends_at_ns
            crashed = run.crashes_at_ns is not None and now >= run.crashes_at_ns
            held = self.state.leases.get(key)
            given_up = now < run.runs_at_ns and (held is None or not core.may_run(held))
            if ended or crashed or given_up:
                del self.runs[key]
                self.last_end_ns = now

    def _doing(self, now: int) -> dict[str, Doing]:
        doing = {}
        for key, run in self.runs.items():
            if run.ends_at_ns is not None:
                doing[key] = Doing.ENDING
            elif now < run.runs_at_ns:
                doing[key] = Doing.STARTING
        return doing

    def _health(self, run: Run, now: int) -> Health:
        return Health(run.work.ref, now >= run.ready_at_ns, run.runs_at_ns)


def _with_processes(gpu: GpuReading, busy: bool) -> GpuReading:
    return GpuReading(
        uuid=gpu.uuid,
        name=gpu.name,
        memory_total_mib=gpu.memory_total_mib,
        process_count=1 if busy else 0,
        lost=gpu.lost,
    )
