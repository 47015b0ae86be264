"""Pure: what the agent does next, from its records, what it sees and its boot clock.

``accept``, ``renew`` and ``reboot`` take the brain's word into the records; ``judge`` (in
``judging``) takes in what was seen; ``diff`` names the actions. The shell saves the records before
it acts.
"""

from __future__ import annotations

from collections.abc import Iterable

from msgspec.structs import replace

from kernel.clock import NS
from kernel.wire.agent import DesiredLease, DesiredSet, GpuReading, NvmlState
from node_agent.judging import EXPIRED, RESTARTS_MAX, count_end, judge, may_run
from node_agent.records import Action, AgentState, End, Fence, Held, Phase, Seen, Start, Work

__all__ = ["EXPIRED", "RESTARTS_MAX", "accept", "diff", "judge", "may_run", "renew"]

SETTLE_NS = 5 * NS  # after the end of our work its memory may still be shown
FOREIGN_SHARE = 0.05  # of a GPU's memory: more than a display takes, less than vLLM leaves free
EXPIRY_DRAIN_SECONDS = 5.0  # the brain sells the GPUs again 10 s after the ttl
NO_LEASE = "It is not in the node's desired set."
ASKED = "The brain asked for it to stop."
REBOOTED = "The host was restarted."


def accept(state: AgentState, desired: DesiredSet, sent_ns: int) -> AgentState:
    """Take in a whole desired set. A lower generation changes nothing.

    Leases are taken from the highest epoch down, so that of two leases for one GPU the newer
    wins and the older is fenced, whatever their order in the message.
    """
    if desired.generation < state.generation:
        return state
    fences = dict(state.fences)
    named = {lease.lease_id for lease in desired.leases}
    leases = {
        lease_id: held if lease_id in named else _unwanted(held)
        for lease_id, held in state.leases.items()
    }
    for lease in sorted(desired.leases, key=lambda one: one.epoch, reverse=True):
        leases[lease.lease_id] = _taken(leases.get(lease.lease_id), lease, fences, sent_ns)
    leases = {lease_id: _fenced(held, fences) for lease_id, held in leases.items()}
    return replace(state, generation=desired.generation, leases=leases, fences=fences)


def renew(state: AgentState, lease_ids: Iterable[str], sent_ns: int) -> AgentState:
    """Start the ttl of these leases anew, from before the renewal was sent."""
    leases = dict(state.leases)
    for lease_id in lease_ids:
        held = leases.get(lease_id)
        if held is None or held.ended:
            continue
        deadline = sent_ns + held.lease.ttl_seconds * NS
        leases[lease_id] = replace(held, deadline_ns=max(held.deadline_ns, deadline))
    return replace(state, leases=leases)


def reboot(state: AgentState, host_boot_id: str) -> AgentState:
    """A new boot of the host holds no lease; epochs are remembered."""
    if state.host_boot_id == host_boot_id:
        return state
    leases = {
        lease_id: replace(held, ended=held.ended or REBOOTED, gone_ns=0, deadline_ns=0)
        for lease_id, held in state.leases.items()
    }
    return replace(state, host_boot_id=host_boot_id, generation=0, leases=leases)


def starting(state: AgentState, lease_id: str, now_ns: int) -> AgentState:
    """Write down that a start is about to happen; old starts are forgotten."""
    held = state.leases[lease_id]
    starts = (*held.starts[-RESTARTS_MAX:], now_ns)
    return _with(state, lease_id, replace(held, starts=starts, gone_ns=0))


def started(state: AgentState, lease_id: str, now_ns: int) -> AgentState:
    """Its work runs now: the time that it has to become ready counts from here, not from the
    beginning of its pull."""
    held = state.leases.get(lease_id)
    if held is None or not held.starts:
        return state
    return _with(state, lease_id, replace(held, starts=(*held.starts[:-1], now_ns)))


def start_failed(
    state: AgentState, lease_id: str, reason: str, *, permanent: bool, now_ns: int
) -> AgentState:
    """Count a start that failed; a permanent one is not tried again."""
    held = state.leases.get(lease_id)
    if held is None or held.ended:
        return state
    if permanent:
        return _with(state, lease_id, replace(held, ended=reason, failed=True))
    return _with(state, lease_id, count_end(held, reason, 0, now_ns))


def forget(state: AgentState, reported_gone: Iterable[str]) -> AgentState:
    """Drop the records of leases that the brain no longer names and was told are gone."""
    done = {
        lease_id
        for lease_id in reported_gone
        if lease_id in state.leases and not state.leases[lease_id].wanted
    }
    if not done:
        return state
    kept = {lease_id: held for lease_id, held in state.leases.items() if lease_id not in done}
    return replace(state, leases=kept)


def diff(state: AgentState, seen: Seen, now_ns: int) -> list[Action]:
    """The actions that bring what runs to what should run. Empty when the engine is away."""
    if not seen.engine_ok:
        return []
    actions: list[Action] = []
    for work in seen.works:
        if seen.ours(work) and work.lease_id not in seen.doing:
            why = why_end(state, seen, work, now_ns)
            if why:
                actions.append(End(work, _drain_seconds(state, work, now_ns), why))
    locked = locked_gpus(state, seen)
    for held in sorted(state.leases.values(), key=lambda one: one.lease.epoch):
        if why_wait(held, seen, locked, now_ns) == "":
            actions.append(Start(held.lease))
            locked |= set(held.lease.gpu_uuids)
    return actions


def why_end(state: AgentState, seen: Seen, work: Work, now_ns: int) -> str:
    """Why this work must end, or an empty text when it is to go on.

    Only work that carries this installation's id gets here. Work of a lease that the agent
    has no record of waits for the brain's first word, but no longer than its ttl.
    """
    held = state.leases.get(work.lease_id)
    if held is None:
        waited_ns = now_ns - seen.agent_started_ns
        return NO_LEASE if seen.heard or waited_ns >= work.ttl_seconds * NS else ""
    if not may_run(held):
        return held.ended or (ASKED if held.wanted else NO_LEASE)
    if work.epoch != held.lease.epoch:
        return f"Its epoch {work.epoch} is not the lease's {held.lease.epoch}."
    if work is not seen.work_of(work.lease_id):
        return "Another run of the same lease is kept."
    if work.phase is not Phase.RUNNING:
        return work.exit_reason or "It is not running."
    if work.ref == held.condemned_ref:
        return held.trouble
    return ""


def why_wait(held: Held, seen: Seen, locked: set[str], now_ns: int) -> str | None:
    """Why a start waits; empty = start now; None = there is nothing to start."""
    lease_id = held.lease.lease_id
    if not may_run(held) or lease_id in seen.doing or seen.work_of(lease_id):
        return None
    if held.not_before_ns > now_ns:
        return held.trouble or "A restart waits."
    taken = sorted(set(held.lease.gpu_uuids) & locked)
    if taken:
        return f"GPU {taken[0]} is still held by other work."
    return _gpus_not_free(held.lease, seen)


def locked_gpus(state: AgentState, seen: Seen) -> set[str]:
    """GPUs that work holds, be it another installation's, or a job in flight is about to."""
    locked = {uuid for work in seen.works for uuid in work.gpu_uuids}
    for lease_id in seen.doing:
        held = state.leases.get(lease_id)
        locked |= set(held.lease.gpu_uuids) if held else set()
    return locked


def released(held: Held, seen: Seen) -> str:
    """Empty when the evidence is complete: work gone, and a later look shows its GPUs free."""
    if held.gone_ns == 0 or held.lease.lease_id in seen.doing:
        return "Its work is ending."
    if not held.lease.gpu_uuids or not held.starts:
        return ""
    if seen.nvml is NvmlState.HUNG:
        return "Its work is gone; NVML hangs, so its GPUs cannot be shown free."
    if seen.gpus_at_ns < held.gone_ns:
        return "Its work is gone; its GPUs are being looked at."
    for uuid in held.lease.gpu_uuids:
        gpu = seen.gpus.get(uuid)
        if gpu is not None and not gpu.lost and gpu.process_count > 0:
            return f"Its work is gone; GPU {uuid} still shows {gpu.process_count} processes."
    return ""


def _taken(held: Held | None, lease: DesiredLease, fences: dict[str, Fence], sent_ns: int) -> Held:
    if held is not None:
        if held.lease.epoch == lease.epoch:
            return replace(held, lease=lease, wanted=True)
        if held.lease.epoch > lease.epoch:
            return replace(held, wanted=True)
    refusal = _refusal(lease, fences)
    deadline = sent_ns + lease.ttl_seconds * NS
    if refusal:
        return Held(lease, deadline, ended=refusal, failed=True)
    for uuid in lease.gpu_uuids:
        fences[uuid] = Fence(lease.epoch, lease.lease_id)
    return Held(lease, deadline)


def _refusal(lease: DesiredLease, fences: dict[str, Fence]) -> str:
    for uuid in lease.gpu_uuids:
        fence = fences.get(uuid)
        if fence is None or lease.epoch > fence.epoch:
            continue
        if lease.epoch < fence.epoch or lease.lease_id != fence.lease_id:
            return f"Epoch {lease.epoch} is refused: GPU {uuid} has seen {fence.epoch}."
    return ""


def _fenced(held: Held, fences: dict[str, Fence]) -> Held:
    refusal = "" if held.ended else _refusal(held.lease, fences)
    return replace(held, ended=refusal) if refusal else held


def _unwanted(held: Held) -> Held:
    return replace(held, wanted=False, ended=held.ended or NO_LEASE)


def _gpus_not_free(lease: DesiredLease, seen: Seen) -> str:
    if not lease.gpu_uuids:
        return ""
    if seen.nvml is NvmlState.HUNG:
        return "NVML hangs: nothing new is started until it answers."
    if seen.gpus_at_ns == 0 or seen.gpus_at_ns < seen.last_end_ns:
        return "The GPUs are being looked at."
    for uuid in lease.gpu_uuids:
        gpu = seen.gpus.get(uuid)
        if gpu is None or gpu.lost:
            return f"GPU {uuid} is not there."
        if used := foreign_use(gpu):
            return used
    return ""


def foreign_use(gpu: GpuReading) -> str:
    """Why a GPU that none of our work is on is not free, as measured; empty when it is."""
    if gpu.process_count:
        return f"GPU {gpu.uuid} is used by {gpu.process_count} processes that are not ours."
    if gpu.memory_used_mib > gpu.memory_total_mib * FOREIGN_SHARE:
        used = f"{gpu.memory_used_mib:,} of {gpu.memory_total_mib:,} MiB"
        return f"GPU {gpu.uuid} has {used} in use that is not ours."
    return ""


def told_gpus(state: AgentState, seen: Seen) -> list[GpuReading]:
    """The readings, with a mark on each GPU that is used by others: nothing is sold on it."""
    if seen.gpus_at_ns < seen.last_end_ns + SETTLE_NS:
        return list(seen.gpus.values())  # what our work leaves behind is not another's
    ours = {uuid for held in state.leases.values() for uuid in held.lease.gpu_uuids}
    return [
        replace(gpu, foreign_use=True)
        if uuid not in ours and not gpu.lost and foreign_use(gpu)
        else gpu
        for uuid, gpu in seen.gpus.items()
    ]


def _drain_seconds(state: AgentState, work: Work, now_ns: int) -> float:
    held = state.leases.get(work.lease_id)
    if held is None or held.ended not in ("", NO_LEASE) or work.phase is not Phase.RUNNING:
        return EXPIRY_DRAIN_SECONDS
    left = max(held.deadline_ns - now_ns, 0) / NS + EXPIRY_DRAIN_SECONDS
    return min(float(held.lease.launch.drain_seconds_max), left)


def _with(state: AgentState, lease_id: str, held: Held) -> AgentState:
    return replace(state, leases={**state.leases, lease_id: held})
