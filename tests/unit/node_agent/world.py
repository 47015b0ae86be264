"""A host without a host: work, GPUs and time as plain values, for laws about the agent's core."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import msgspec

from kernel.clock import NS
from kernel.wire.agent import (
    DesiredLease,
    DesiredSet,
    DesiredState,
    GpuReading,
    LaunchSpec,
    LeaseSeen,
    NvmlState,
)
from node_agent import core
from node_agent.records import AgentState, Doing, End, Health, Phase, Seen, Start, Trouble, Work
from node_agent.report import Told, report

OURS = "ours"
GPUS = ("GPU-0", "GPU-1", "GPU-2")


def lease(
    number: int, *gpus: str, epoch: int | None = None, ttl: int = 60, stop: bool = False
) -> DesiredLease:
    launch = LaunchSpec(
        engine="standin", image="i", arguments=[], start_seconds_max=300, drain_seconds_max=30
    )
    state = DesiredState.STOP if stop else DesiredState.RUN
    return DesiredLease(f"lease-{number}", epoch or number, list(gpus), ttl, state, launch)


@dataclass
class World:
    """One host under the core's decisions; starts and ends take a ``finish`` each."""

    state: AgentState = field(default_factory=lambda: AgentState("boot-1"))
    now_ns: int = 1000 * NS
    works: dict[str, Work] = field(default_factory=dict)  # by ref
    jobs: dict[str, Start | End] = field(default_factory=dict)  # by lease id
    leftover: dict[str, int] = field(default_factory=dict)  # processes by GPU, no work of ours
    simulated: bool = False  # GPUs that show no process, whatever runs
    unhealthy: set[str] = field(default_factory=set)  # refs
    away: set[str] = field(default_factory=set)  # GPUs that NVML does not show
    fallen: set[str] = field(default_factory=set)  # GPUs that NVML shows as lost
    breaches: dict[str, Trouble] = field(default_factory=dict)
    gpu_trouble: dict[str, Trouble] = field(default_factory=dict)
    engine_ok: bool = True
    nvml: NvmlState = NvmlState.OK
    heard: bool = True
    started_ns: int = 1000 * NS
    last_end_ns: int = 0
    count: int = 0
    history: list[Start | End] = field(default_factory=list)

    # The brain's side.

    def desire(self, generation: int, *leases: DesiredLease) -> None:
        self.state = core.accept(
            self.state, DesiredSet(generation, list(leases)), sent_ns=self.now_ns
        )
        self.heard = True

    def renew(self, *lease_ids: str) -> None:
        self.state = core.renew(self.state, lease_ids, self.now_ns)

    # The host's side.

    def advance(self, seconds: float) -> None:
        self.now_ns += int(seconds * NS)

    def seen(self) -> Seen:
        running = [w for w in self.works.values() if w.phase is Phase.RUNNING]
        shown = [] if self.simulated else running
        used = {uuid: self.leftover.get(uuid, 0) for uuid in GPUS}
        for work in shown:
            for uuid in work.gpu_uuids & set(GPUS):
                used[uuid] += 1
        return Seen(
            installation_id=OURS,
            engine_ok=self.engine_ok,
            works=tuple(self.works.values()),
            works_at_ns=self.now_ns,
            doing={
                lease_id: Doing.STARTING if isinstance(job, Start) else Doing.ENDING
                for lease_id, job in self.jobs.items()
            },
            health={
                w.lease_id: Health(w.ref, w.ref not in self.unhealthy, self.now_ns) for w in running
            },
            nvml=self.nvml,
            breaches=self.breaches,
            gpu_trouble=self.gpu_trouble,
            gpus={
                uuid: GpuReading(uuid, "g", 1, process_count=used[uuid], lost=uuid in self.fallen)
                for uuid in GPUS
                if uuid not in self.away
            },
            gpus_at_ns=self.now_ns,
            last_end_ns=self.last_end_ns,
            heard=self.heard,
            agent_started_ns=self.started_ns,
        )

    def tick(self) -> list[Start | End]:
        """One look of the agent; its actions begin and are not yet finished."""
        self.now_ns += 1
        seen = self.seen()
        self.state = core.judge(self.state, seen, self.now_ns)
        actions = core.diff(self.state, seen, self.now_ns)
        for action in actions:
            if isinstance(action, Start):
                lease_id = action.lease.lease_id
                self.state = core.starting(self.state, lease_id, self.now_ns)
            else:
                lease_id = action.work.lease_id
            assert lease_id not in self.jobs, "one job a lease at a time"
            self.jobs[lease_id] = action
        self.history += actions
        return actions

    def finish(self, lease_id: str) -> None:
        """The job's effect happens."""
        job = self.jobs.pop(lease_id)
        if isinstance(job, Start):
            self.put(job.lease)
        else:
            self.works.pop(job.work.ref, None)
            self.last_end_ns = self.now_ns

    def put(self, wanted: DesiredLease, installation: str = OURS) -> Work:
        self.count += 1
        work = Work(
            lease_id=wanted.lease_id,
            epoch=wanted.epoch,
            installation_id=installation,
            gpu_uuids=frozenset(wanted.gpu_uuids),
            phase=Phase.RUNNING,
            ref=f"ref-{self.count}",
            port=9000,
            ttl_seconds=wanted.ttl_seconds,
        )
        self.works[work.ref] = work
        return work

    def crash(self, ref: str) -> None:
        work = self.works[ref]
        self.works[ref] = replace(work, phase=Phase.EXITED, exit_reason="It crashed.")

    def settle(self, rounds: int = 12) -> None:
        """Ticks and finished jobs until nothing more happens."""
        for _ in range(rounds):
            self.tick()
            for lease_id in list(self.jobs):
                self.finish(lease_id)

    def restart_agent(self) -> None:
        """A new agent process reads the saved records; jobs in flight are lost with the old."""
        content = msgspec.json.encode(self.state)
        self.state = msgspec.json.decode(content, type=AgentState)
        self.jobs.clear()
        self.started_ns = self.now_ns
        self.heard = False

    def running(self) -> set[str]:
        return {
            w.lease_id
            for w in self.works.values()
            if w.phase is Phase.RUNNING and w.installation_id == OURS
        }

    def told(self, lease_id: str) -> LeaseSeen:
        lines = report(self.state, self.seen(), Told(), self.now_ns)
        return next(line for line in lines if line.lease_id == lease_id)
