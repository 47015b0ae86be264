"""Pure: how the agent's records and what it sees are told to the brain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kernel.clock import NS
from kernel.wire.agent import RESTARTS_MAX, DesiredState, LeaseSeen, LeaseSeenState, WorkUsage
from node_agent.core import ASKED, locked_gpus, may_run, released, why_wait
from node_agent.probe import KV_CACHE_TOKENS
from node_agent.records import AgentState, Doing, Held, Phase, Seen, Work

KV_CACHE_TOKENS_MAX = 2**40
FLAP_NS = 3 * NS  # one slow health answer of a ready worker is not a change of state


@dataclass
class Progress:
    """How far an image pull is; written by the hand, read by the report."""

    done_mib: int = 0
    total_mib: int = 0


@dataclass(frozen=True)
class Told:
    """What goes into the report beside records and looks."""

    pulls: Mapping[str, Progress] = field(default_factory=dict)
    metrics: Mapping[str, dict[str, float]] = field(default_factory=dict)
    usage: Mapping[str, WorkUsage] = field(default_factory=dict)


def report(state: AgentState, seen: Seen, told: Told, now_ns: int) -> list[LeaseSeen]:
    """One line a lease, in the order of their ids."""
    locked = locked_gpus(state, seen)
    return [
        _line(state.leases[lease_id], seen, told, locked, now_ns)
        for lease_id in sorted(state.leases)
    ]


def _line(held: Held, seen: Seen, told: Told, locked: set[str], now_ns: int) -> LeaseSeen:
    lease = held.lease
    work = seen.work_of(lease.lease_id)
    state, reason = _state(held, seen, work, locked, now_ns)
    pull = told.pulls.get(lease.lease_id, Progress())
    metrics = dict(told.metrics.get(lease.lease_id, {}))
    tokens = metrics.pop(KV_CACHE_TOKENS, 0)
    return LeaseSeen(
        lease_id=lease.lease_id,
        epoch=lease.epoch,
        state=state,
        reason=reason[:4000],
        port=work.port if work is not None and work.phase is Phase.RUNNING else 0,
        restarts=min(held.restarts, RESTARTS_MAX),
        pull_done_mib=pull.done_mib,
        pull_total_mib=pull.total_mib,
        gpu_uuids=list(lease.gpu_uuids),
        metrics=metrics,
        usage=told.usage.get(lease.lease_id),
        kv_cache_tokens=int(tokens) if 0 < tokens <= KV_CACHE_TOKENS_MAX else 0,
    )


def _state(
    held: Held, seen: Seen, work: Work | None, locked: set[str], now_ns: int
) -> tuple[LeaseSeenState, str]:
    if not may_run(held):
        return _ended_state(held, seen, work)
    doing = seen.doing.get(held.lease.lease_id)
    if doing is Doing.STARTING:
        return LeaseSeenState.STARTING, held.trouble
    if work is None or work.phase is not Phase.RUNNING or doing is Doing.ENDING:
        waits = why_wait(held, seen, locked, now_ns)
        return LeaseSeenState.STARTING, waits or held.trouble
    health = seen.health.get(held.lease.lease_id)
    if health is None or health.ref != work.ref:
        known = held.ready_ref == work.ref
        return (LeaseSeenState.READY if known else LeaseSeenState.LOADING), held.trouble
    if health.ok or (held.ready_ref == work.ref and now_ns - health.since_ns < FLAP_NS):
        return LeaseSeenState.READY, ""
    if held.ready_ref == work.ref:
        return LeaseSeenState.LOADING, "It does not answer its health check."
    return LeaseSeenState.LOADING, held.trouble


def _ended_state(held: Held, seen: Seen, work: Work | None) -> tuple[LeaseSeenState, str]:
    reason = held.ended or ASKED
    if work is not None or held.lease.lease_id in seen.doing:
        return LeaseSeenState.STOPPING, reason
    missing = released(held, seen)
    if missing:
        return LeaseSeenState.STOPPING, missing
    asked_to_run = held.wanted and held.lease.state is DesiredState.RUN
    if held.failed and asked_to_run:
        return LeaseSeenState.FAILED, reason
    return LeaseSeenState.GONE, reason
