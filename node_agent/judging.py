"""Pure: what the agent makes of what it sees: ends of leases, crashes, health, lost GPUs."""

from __future__ import annotations

from msgspec.structs import replace

from kernel.clock import NS
from kernel.wire.agent import DesiredLease, DesiredState, NvmlState
from node_agent.records import AgentState, Health, Held, Phase, Seen, Trouble, Work

RESTARTS_MAX = 5
RESTARTS_WINDOW_NS = 600 * NS
RESTART_WAIT_NS_MAX = 30 * NS
UNHEALTHY_SECONDS_MAX = 60
GPUS_AWAY_NS = 10 * NS  # a GPU that NVML does not show under running work is given this long
EXPIRED = "The lease ended: it was not renewed in time."


def judge(state: AgentState, seen: Seen, now_ns: int) -> AgentState:
    """Take in what was seen: ends of leases, crashes, health, evidence that work is gone."""
    leases = {}
    for lease_id, held in state.leases.items():
        after = _expired(held, now_ns)
        if seen.engine_ok:
            after = _watched(after, seen, now_ns)
            after = _noted_gone(after, seen)
        leases[lease_id] = after
    return state if leases == state.leases else replace(state, leases=leases)


def may_run(held: Held) -> bool:
    return not held.ended and held.wanted and held.lease.state is DesiredState.RUN


def count_end(held: Held, reason: str, agent_started_ns: int, now_ns: int) -> Held:
    """The next start waits longer each time. What an earlier agent had started may have ended
    with it, so it is no restart, and starts again at once."""
    since_ns = max(now_ns - RESTARTS_WINDOW_NS + 1, agent_started_ns)
    recent = sum(1 for at in held.starts if at >= since_ns)
    if recent > RESTARTS_MAX:
        loop = f"It ended {recent} times within {RESTARTS_WINDOW_NS // NS // 60} min: {reason}"
        return replace(held, ended=loop, failed=True, trouble=reason)
    wait_ns = min(NS << (recent - 1), RESTART_WAIT_NS_MAX) if recent else 0
    restarts = held.restarts + (1 if recent else 0)
    return replace(held, trouble=reason, not_before_ns=now_ns + wait_ns, restarts=restarts)


def _expired(held: Held, now_ns: int) -> Held:
    if held.ended or now_ns < held.deadline_ns:
        return held
    return replace(held, ended=EXPIRED)


def _watched(held: Held, seen: Seen, now_ns: int) -> Held:
    lease = held.lease
    if not may_run(held) or lease.lease_id in seen.doing:
        return held
    work = seen.work_of(lease.lease_id)
    if work is None:
        return _missing(held, seen, now_ns)
    if work.epoch != lease.epoch:
        return held  # it is ended for that, and says nothing about this lease
    if work.phase is not Phase.RUNNING:
        if work.ref == held.counted_ref:
            return held
        reason = work.exit_reason or "It did not start."
        return replace(count_end(held, reason, seen.agent_started_ns, now_ns), counted_ref=work.ref)
    if not held.starts:  # found running, with no record of its start
        held = replace(held, starts=(now_ns,))
    held = _unbroken(held, work, seen, now_ns)
    health = seen.health.get(lease.lease_id)
    condemned = held.ended or held.condemned_ref == work.ref  # a good answer forgives neither
    if condemned or health is None or health.ref != work.ref:
        return held
    return _healthy(held, health, seen.agent_started_ns, now_ns)


def _unbroken(held: Held, work: Work, seen: Seen, now_ns: int) -> Held:
    """Running work that broke its limits, or whose GPUs went away under it."""
    breach = seen.breaches.get(work.lease_id)
    if breach is not None and breach.ref == work.ref:
        return replace(held, ended=breach.reason, failed=True)
    away = _absent_gpu(held.lease, seen)
    if away:
        since_ns = held.gpus_away_ns or max(seen.gpus_at_ns, 1)
        if seen.gpus_at_ns - since_ns >= GPUS_AWAY_NS:
            return replace(held, ended=f"{away} It did so under running work.", failed=True)
        return replace(held, gpus_away_ns=since_ns)
    if held.gpus_away_ns:
        held = replace(held, gpus_away_ns=0)
    inside = seen.gpu_trouble.get(work.lease_id)
    if inside is None or inside.ref != work.ref or held.condemned_ref == work.ref:
        return held
    return _condemned(held, inside, seen.agent_started_ns, now_ns)


def _condemned(held: Held, trouble: Trouble, agent_started_ns: int, now_ns: int) -> Held:
    """This run is to be replaced; its end is counted now, and not again when it is seen."""
    counted = count_end(held, trouble.reason, agent_started_ns, now_ns)
    return replace(counted, condemned_ref=trouble.ref, counted_ref=trouble.ref)


def _absent_gpu(lease: DesiredLease, seen: Seen) -> str:
    """That a GPU of the lease is gone or lost; empty while all are there, or nothing is known.

    Without any NVML (as after an upgrade of its library) running work goes on.
    """
    known = seen.nvml in (NvmlState.OK, NvmlState.SIMULATED)
    for uuid in lease.gpu_uuids if known and seen.gpus_at_ns else ():
        gpu = seen.gpus.get(uuid)
        if gpu is None:
            return f"GPU {uuid} vanished from this node."
        if gpu.lost:
            return f"GPU {uuid} fell off the bus."
    return ""


def _healthy(held: Held, health: Health, agent_started_ns: int, now_ns: int) -> Held:
    if health.ok:
        if held.ready_ref == health.ref and not held.trouble:
            return held
        return replace(held, ready_ref=health.ref, trouble="")
    if held.ready_ref == health.ref:
        if now_ns - health.since_ns < UNHEALTHY_SECONDS_MAX * NS:
            return held
        if held.condemned_ref == health.ref:
            return held
        reason = f"It has not answered its health check for {UNHEALTHY_SECONDS_MAX} s."
        return _condemned(held, Trouble(health.ref, reason), agent_started_ns, now_ns)
    started_ns = held.starts[-1] if held.starts else health.since_ns
    if now_ns - started_ns < held.lease.launch.start_seconds_max * NS:
        return held
    reason = f"It was not ready after {held.lease.launch.start_seconds_max} s."
    return replace(held, ended=reason, failed=True)


def _missing(held: Held, seen: Seen, now_ns: int) -> Held:
    """A lease whose GPU is not here cannot start; a running one whose work vanished restarts."""
    for uuid in held.lease.gpu_uuids:
        gpu = seen.gpus.get(uuid)
        if seen.gpus_at_ns == 0 or seen.nvml is NvmlState.HUNG:
            continue
        if gpu is None or gpu.lost:
            word = "is not on this node" if gpu is None else "is lost"
            return replace(held, ended=f"GPU {uuid} {word}.", failed=True)
    if held.starts and held.not_before_ns < held.starts[-1]:
        return count_end(held, "Its work vanished.", seen.agent_started_ns, now_ns)
    return held


def _noted_gone(held: Held, seen: Seen) -> Held:
    lease_id = held.lease.lease_id
    present = seen.work_of(lease_id) is not None or seen.doing.get(lease_id) is not None
    if may_run(held) or present:
        return replace(held, gone_ns=0) if held.gone_ns else held
    return held if held.gone_ns else replace(held, gone_ns=max(seen.works_at_ns, 1))
