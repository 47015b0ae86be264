"""Values that the pure core decides on: the agent's record of each lease, and what it sees."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from msgspec import Struct

from kernel.wire.agent import DesiredLease, GpuReading, NvmlState


class Phase(StrEnum):
    """What an engine sees of one container or process."""

    CREATED = "created"  # made but not running: the rest of a start that failed
    RUNNING = "running"
    EXITED = "exited"


@dataclass(frozen=True)
class Work:
    """One container or process, read from its labels or its record on disk."""

    lease_id: str
    epoch: int
    installation_id: str
    gpu_uuids: frozenset[str]
    phase: Phase
    ref: str  # container id, or pid and start time: names one run, not the lease
    port: int = 0
    ttl_seconds: int = 600
    exit_reason: str = ""
    ports: Mapping[int, int] = field(default_factory=dict)  # inside -> published on loopback
    volumes: frozenset[str] = frozenset()
    shell: bool = False  # its renter may open a shell in it


class Fence(Struct, frozen=True):
    """The highest epoch seen for one GPU, and the lease that brought it."""

    epoch: int
    lease_id: str


class Held(Struct, frozen=True):
    """The agent's record of one lease. Times are of the host's boot clock."""

    lease: DesiredLease
    deadline_ns: int
    wanted: bool = True  # it is in the newest desired set
    ended: str = ""  # why it may never run again; empty = it may run
    failed: bool = False  # the work itself failed; the brain is asked what to do
    starts: tuple[int, ...] = ()
    restarts: int = 0
    not_before_ns: int = 0  # a restart waits until then
    trouble: str = ""  # the last thing that went wrong, told while it is put right
    counted_ref: str = ""  # the run whose end was counted, so that it is counted once
    ready_ref: str = ""  # the run that was ready once
    condemned_ref: str = ""  # a run that stopped answering and is to be replaced
    gone_ns: int = 0  # when its work was first seen to be gone, after its end
    gpus_away_ns: int = 0  # since when a GPU is not shown under its running work


class AgentState(Struct, frozen=True):
    """All that the agent must remember over a restart of itself."""

    host_boot_id: str
    generation: int = 0
    leases: dict[str, Held] = {}
    fences: dict[str, Fence] = {}  # by GPU UUID; survives a reboot


@dataclass(frozen=True)
class Health:
    """The worker's own health answer, and since when it has been so."""

    ref: str
    ok: bool
    since_ns: int


@dataclass(frozen=True)
class Trouble:
    """Something wrong with one run of the work, in words for people."""

    ref: str
    reason: str


class Doing(StrEnum):
    """A long job in flight for a lease."""

    STARTING = "starting"
    ENDING = "ending"


@dataclass(frozen=True)
class Seen:
    """One look at the world. ``works`` means nothing when ``engine_ok`` is False."""

    installation_id: str
    engine_ok: bool = True
    works: tuple[Work, ...] = ()
    works_at_ns: int = 0
    doing: Mapping[str, Doing] = field(default_factory=dict)
    health: Mapping[str, Health] = field(default_factory=dict)
    breaches: Mapping[str, Trouble] = field(default_factory=dict)  # of limits: work must end
    gpu_trouble: Mapping[str, Trouble] = field(default_factory=dict)  # inside: it is replaced
    nvml: NvmlState = NvmlState.OK
    gpus: Mapping[str, GpuReading] = field(default_factory=dict)
    gpus_at_ns: int = 0
    last_end_ns: int = 0  # when the last work of ours was seen to end
    heard: bool = True  # the brain has answered since the agent started
    agent_started_ns: int = 0

    def work_of(self, lease_id: str) -> Work | None:
        """The lease's work, the running one first should there ever be two."""
        found = [work for work in self.works if work.lease_id == lease_id and self.ours(work)]
        found.sort(key=lambda work: work.phase is not Phase.RUNNING)
        return found[0] if found else None

    def ours(self, work: Work) -> bool:
        return work.installation_id == self.installation_id


@dataclass(frozen=True)
class Start:
    """Start this lease's work."""

    lease: DesiredLease


@dataclass(frozen=True)
class End:
    """Stop this work, at the latest after ``drain_seconds``, and remove it."""

    work: Work
    drain_seconds: float
    why: str


Action = Start | End
