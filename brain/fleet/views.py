"""What the fleet tells the rooms above it: leases, claims, nodes. Values only."""

from __future__ import annotations

from dataclasses import dataclass

from brain.fleet.core import Outcome
from brain.fleet.states import LeaseState
from kernel.ids import AccountId, DeploymentId, LeaseId, NodeId, ReplicaId
from kernel.wire.agent import LaunchSpec, LeaseSeenState


@dataclass(frozen=True)
class Claim:
    """What a replica asks of one node, and who pays what for it.

    ``price_nano_max``: the price that the plan saw; a dearer node is not taken. The renter pays
    the node's listed price (dedicated), or ``pool_rate_nano`` a share (pool).
    """

    replica_id: ReplicaId
    deployment_id: DeploymentId
    node_id: NodeId
    gpu_count: int
    launch: LaunchSpec
    payer: AccountId
    vram_mib: int = 0  # of each GPU, at least
    price_nano_max: int | None = None
    mode: str = "dedicated"
    pool_rate_nano: int = 0
    ceiling_prompt_nano: int = 0
    ceiling_completion_nano: int = 0
    ttl_seconds: int = 600
    agentless: bool = False  # of a machine to be rented on which no agent of ours will run


@dataclass(frozen=True)
class LeaseView:
    """``state`` is asked, ``seen_state`` is what the agent last said (None: nothing yet).

    ``silent``: the node is not heard, so its work is to be placed elsewhere; its GPUs are not
    free before the lease is closed. ``awaits_gpus``: of a rented machine that has not spoken, and
    of one that never will (``agentless``); ``joined_ns`` is when its GPUs were known.
    """

    lease_id: LeaseId
    replica_id: ReplicaId
    deployment_id: DeploymentId
    node_id: NodeId
    epoch: int
    gpu_uuids: tuple[str, ...]
    state: LeaseState
    reason: str  # why it is in this state; what the agent said, if that says more
    opened_ns: int
    seen_state: LeaseSeenState | None
    port: int
    restarts: int
    silent: bool
    closed_ns: int | None
    outcome: Outcome | None
    awaits_gpus: bool = False
    agentless: bool = False
    joined_ns: int | None = None
    stop_asked_ns: int | None = None
    drain_seconds: int = 0  # known once its stop is asked
    kv_tokens: int = 0  # room in the worker's cache, once it has told

    @property
    def closed(self) -> bool:
        return self.state is LeaseState.CLOSED


@dataclass(frozen=True)
class LeasedGpus:
    """What a lease holds: the name of its GPUs, and the memory of the smallest."""

    name: str
    memory_mib: int
    simulated: bool


@dataclass(frozen=True)
class LogEntry:
    number: int
    at_ns: int
    stream: str
    text: str


@dataclass(frozen=True)
class LogRow:
    """A line with the lease that wrote it; numbers rise by one within a lease."""

    lease_id: str
    number: int
    at_ns: int
    stream: str
    text: str
