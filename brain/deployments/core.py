"""Pure decisions: what a deployment and each of its replicas should do next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brain.deployments import rollout_core
from brain.deployments.states import (
    TERMINAL,
    Asked,
    DeploymentState,
    ReplicaEvent,
    ReplicaState,
)
from kernel.clock import NS
from kernel.ids import ReplicaId
from kernel.money import Money
from kernel.wire.agent import LeaseSeenState

CRASHES_MAX = 5
CRASH_WINDOW_NS = 600 * NS
# Where each start of it is a machine rented for an image that nobody here knows.
RENTED_CRASH_WINDOW_NS = 6 * 3600 * NS
# Seconds until the next attempt, by the number of crashes in the window.
BACK_OFF_SECONDS = (0, 1, 5, 15, 30)
# Seconds until a waiting replica looks for a place again, by how often it has looked.
PLACE_AGAIN_SECONDS = (1, 1, 2, 3, 5)
ROLLING_NS = NS  # how often a rollout is looked at with no news: gateways tell no one
UNPAID_DRAIN_SECONDS = 5  # what nobody pays for any more ends soon, whatever is in flight
CLAIM_SECONDS_MAX = 90  # an agent takes up a lease within a few beats, or another node may


@dataclass(frozen=True)
class DeploymentView:
    """What the decision needs of a deployment, its account and its use."""

    asked: Asked
    replicas: int
    broken: bool
    account_stopped: bool
    started_ns: int  # when it was last asked to run
    max_duration_seconds: int | None = None
    idle_stop_seconds: int | None = None
    last_used_ns: int | None = None  # None: not known
    ready_ns: int | None = None  # when the newest worker of this run was; None: none was yet
    budget_nano: int | None = None
    spent_nano: int = 0  # until the next look at it, as far as is known
    revision: int = 1  # what is asked for
    stable: int | None = None  # the last revision whose workers all were ready; None: none was
    max_surge: int = 1
    max_unavailable: int = 0
    rollout_ns: int = 0  # when the revision was asked for, or the deployment to run or to grow
    progress_seconds: int = 3600  # a rollout that does not move for so long is given up
    crash_window_ns: int = CRASH_WINDOW_NS  # in which so many failed starts end the tries


@dataclass(frozen=True)
class ReplicaView:
    replica_id: ReplicaId
    state: ReplicaState
    stop_asked: bool
    crashed_ns: int | None = None
    crashes: int = 0
    state_ns: int = 0  # since when it is in this state
    claimed_ns: int = 0
    start_seconds_max: int = 1800
    drain_seconds_max: int = 300
    revision: int = 1
    told: bool = True  # every gateway has taken it up
    in_flight: int = 0
    ready_ns: int | None = None  # for the first time
    ended_ns: int | None = None
    reason: str = ""  # why it is in this state


@dataclass(frozen=True)
class Decision:
    """What to do for a deployment. ``again_ns`` is when to look at the latest.

    ``completes``: all workers of the revision asked for are ready, and no other goes on.
    ``rolls_back``: why the revision asked for is given up for the last good one.
    """

    add: int = 0
    add_due_ns: int = 0
    stop: tuple[tuple[ReplicaId, str], ...] = ()
    ask_stop: str | None = None
    breaks: str | None = None
    completes: bool = False
    rolls_back: str | None = None
    again_ns: int | None = None


@dataclass(frozen=True)
class Seen:
    """What the fleet knows of a replica's lease. ``silent``: its node is not heard."""

    state: LeaseSeenState | None = None
    closed: bool = False
    stopping: bool = False
    silent: bool = False
    failed: bool = False
    reason: str = ""
    restarts: int = 0  # within the crash window
    boots: bool = False  # its machine is being rented, and has a deadline of its own
    taken_ns: int = 0  # when the machine was there, if it was rented


@dataclass(frozen=True)
class Move:
    event: ReplicaEvent
    reason: str
    stops_lease: bool = False
    crashes: int = 0  # failed starts to count against the deployment


def derive(
    asked: Asked, replicas_asked: int, broken: bool, states: Sequence[ReplicaState]
) -> DeploymentState:
    """A deployment's state from what was asked and what its replicas are."""
    live = [state for state in states if state not in TERMINAL]
    if asked is Asked.STOPPED:
        return DeploymentState.STOPPING if live else DeploymentState.STOPPED
    ready = live.count(ReplicaState.READY)
    if broken:
        return DeploymentState.DEGRADED if ready else DeploymentState.FAILED
    if replicas_asked == 0:
        return DeploymentState.STOPPING if live else DeploymentState.ASLEEP
    if ready >= replicas_asked:
        return DeploymentState.RUNNING
    if ready:
        return DeploymentState.DEGRADED
    if ReplicaState.CLAIMED in live or ReplicaState.LOADING in live:
        return DeploymentState.STARTING
    return DeploymentState.WAITING


def decide(view: DeploymentView, replicas: Sequence[ReplicaView], now_ns: int) -> Decision:
    """How a deployment gets from what it has to what was asked, its guards first."""
    wanted = [r for r in replicas if not r.stop_asked and r.state not in TERMINAL]
    wanted = [r for r in wanted if r.state is not ReplicaState.STOPPING]
    if view.asked is Asked.STOPPED:
        return Decision(stop=_all(wanted, "the deployment was stopped"))
    halt = guard(view, now_ns)
    if halt is not None:
        return Decision(ask_stop=halt, stop=_all(wanted, halt))
    if view.broken:
        return Decision(stop=_not_ready(wanted), again_ns=_guard_due(view, now_ns))
    crashes, due_ns = _crashes(view, replicas, now_ns)
    rolling = view.stable is not None and view.stable != view.revision
    if rolling:
        why = _given_up(view, replicas, crashes, now_ns)
        if why is not None:
            return Decision(rolls_back=why, again_ns=now_ns)
    if crashes >= CRASHES_MAX:
        reason = _fails_again(view, replicas, crashes)
        return Decision(breaks=reason, stop=_not_ready(wanted), again_ns=now_ns)
    workers = [_worker(replica) for replica in replicas]
    bounds = rollout_core.Bounds(view.revision, view.replicas, view.max_surge, view.max_unavailable)
    completes = view.stable != view.revision and rollout_core.is_complete(bounds, workers)
    again_ns = _guard_due(view, now_ns)
    if rollout_core.rolls(workers, view.revision):
        turn = rollout_core.turn(bounds, workers)
        reason = f"revision {view.revision} takes its place"
        stop = tuple((replica_id, reason) for replica_id in turn.stop)
        again_ns = min(again_ns or now_ns + ROLLING_NS, now_ns + ROLLING_NS)
        return Decision(add=turn.add, add_due_ns=due_ns, stop=stop, again_ns=again_ns)
    if rolling and not completes:
        again_ns = min(again_ns or now_ns + ROLLING_NS, now_ns + ROLLING_NS)
    surplus = len(wanted) - view.replicas
    if surplus > 0:
        return Decision(stop=_surplus(wanted, surplus), completes=completes, again_ns=again_ns)
    return Decision(add=-surplus, add_due_ns=due_ns, completes=completes, again_ns=again_ns)


def _crashes(view: DeploymentView, replicas: Sequence[ReplicaView], now_ns: int) -> tuple[int, int]:
    """Failed starts of the revision asked for within the window, and when the next may be. Those
    from before it was last asked to run do not count: who starts it again wants a new try."""
    since_ns = max(now_ns - view.crash_window_ns, view.started_ns - 1)
    own = [r for r in replicas if r.revision == view.revision]
    recent = [r for r in own if r.crashed_ns is not None and r.crashed_ns > since_ns]
    crashes = sum(r.crashes for r in recent)
    if not crashes:
        return 0, now_ns
    last = max(r.crashed_ns or 0 for r in recent)
    waits = BACK_OFF_SECONDS[min(crashes, len(BACK_OFF_SECONDS) - 1)]
    return crashes, max(now_ns, last + waits * NS)


def _fails_again(view: DeploymentView, replicas: Sequence[ReplicaView], crashes: int) -> str:
    """With what the last one failed by: it is what the owner has to mend."""
    last = max(replicas, key=lambda replica: replica.crashed_ns or 0)
    minutes = view.crash_window_ns // (60 * NS)
    return f"{crashes} starts of its workers failed within {minutes} minutes: {last.reason}"


def _given_up(
    view: DeploymentView, replicas: Sequence[ReplicaView], crashes: int, now_ns: int
) -> str | None:
    """Why a rollout goes back. What gets ready, or makes room for it, gives it new time."""
    if crashes >= CRASHES_MAX:
        return _fails_again(view, replicas, crashes)
    if view.replicas == 0:
        return None
    moved = [r.ready_ns or 0 for r in replicas if r.revision == view.revision]
    moved += [r.ended_ns or 0 for r in replicas if r.revision != view.revision]
    return rollout_core.stuck(max([view.rollout_ns, *moved]), view.progress_seconds, now_ns)


def _worker(view: ReplicaView) -> rollout_core.Worker:
    return rollout_core.Worker(
        replica_id=view.replica_id,
        state=view.state,
        revision=view.revision,
        stop_asked=view.stop_asked,
        told=view.told,
        was_ready=view.ready_ns is not None,
        faulted=view.crashed_ns is not None and view.state is ReplicaState.STOPPING,
        in_flight=view.in_flight,
    )


def guard(view: DeploymentView, now_ns: int) -> str | None:
    """Why a running deployment must stop now, or None. Guards are the owner's standing orders."""
    if view.account_stopped:
        return "the account is out of credit"
    limit = view.max_duration_seconds
    if limit is not None and now_ns >= view.started_ns + limit * NS:
        return f"its longest duration of {limit} s is over"
    if view.budget_nano is not None and view.spent_nano >= view.budget_nano:
        return f"its budget of {Money(view.budget_nano)} is spent"
    due_ns = _idle_due(view)
    if due_ns is not None and now_ns >= due_ns:
        return f"it was idle for {view.idle_stop_seconds} s"
    return None


def _idle_due(view: DeploymentView) -> int | None:
    """When it will have been idle too long. Waiting for a worker that can answer is not idle."""
    if view.idle_stop_seconds is None or view.ready_ns is None:
        return None
    since_ns = max(view.last_used_ns or 0, view.ready_ns, view.started_ns)
    return since_ns + view.idle_stop_seconds * NS


def step(view: ReplicaView, seen: Seen | None, *, drained: bool, now_ns: int) -> Move | None:
    """The next move of a replica that holds a lease; None when all is as it should be.

    ``seen`` None: the fleet does not know the lease.
    """
    state = view.state
    open_ = seen is not None and not seen.closed
    if state is ReplicaState.STOPPING:
        return None if open_ else _ended(view, seen)
    if seen is not None and _gave_up(seen):
        why = seen.reason or "the worker ended by itself"
        crashes = _count(view, seen) if _failed(seen) else 0
        return Move(ReplicaEvent.CRASH, why, stops_lease=open_, crashes=crashes)
    if seen is None or seen.closed or seen.silent:
        why = "the node is not heard" if seen and not seen.closed else _lost(seen)
        return Move(ReplicaEvent.LOSE, why, stops_lease=open_)
    if seen.stopping:
        return Move(ReplicaEvent.CRASH, seen.reason or "the fleet took the lease back")
    if state is ReplicaState.DRAINING:
        return _drain(view, drained, now_ns)
    if view.stop_asked:
        if state is ReplicaState.READY:
            return Move(ReplicaEvent.DRAIN, "asked to stop")
        return Move(ReplicaEvent.STOP, "asked to stop before it was ready", stops_lease=True)
    return _follow(view, seen, now_ns)


def newest_restarts(
    before_ns: Sequence[int], counted: int, reported: int, now_ns: int
) -> list[int]:
    """When the restarts within the crash window were seen; no more of them than decide anything.

    The agent reports how often it ever started the worker anew: only the increase is news.
    """
    fresh = min(max(reported - counted, 0), CRASHES_MAX)
    recent = [ns for ns in before_ns if ns > now_ns - CRASH_WINDOW_NS]
    return [*recent, *[now_ns] * fresh][-CRASHES_MAX:]


def again_seconds(state: ReplicaState) -> float | None:
    """How long until a replica in this state is looked at again, if nothing wakes it."""
    if state in TERMINAL:
        return None
    if state is ReplicaState.DRAINING:
        return 0.5
    return 5.0 if state is ReplicaState.READY else 2.0


def _lost(seen: Seen | None) -> str:
    return (seen.reason if seen is not None else "") or "the lease was lost"


def _gave_up(seen: Seen) -> bool:
    return _failed(seen) or seen.state is LeaseSeenState.GONE


def _failed(seen: Seen) -> bool:
    """Gone but not failed is not the worker's fault: its node stopped, or its host restarted."""
    return seen.failed or seen.state is LeaseSeenState.FAILED


def _follow(view: ReplicaView, seen: Seen, now_ns: int) -> Move | None:
    state = view.state
    if seen.state is LeaseSeenState.READY:
        if state is ReplicaState.READY:
            return None
        return Move(ReplicaEvent.ANSWER, "the worker answers")
    if seen.state is LeaseSeenState.LOADING:
        if state is ReplicaState.CLAIMED:
            return Move(ReplicaEvent.LOAD, "the worker runs and loads the model")
        if state is ReplicaState.READY:
            return Move(ReplicaEvent.FALTER, seen.reason or "the worker stopped answering")
    if seen.restarts >= CRASHES_MAX:
        why = f"the worker was restarted {seen.restarts} times within 10 minutes"
        if seen.reason:
            why += f": {seen.reason}"
        return Move(ReplicaEvent.CRASH, why, stops_lease=True, crashes=_count(view, seen))
    return _too_slow(view, seen, now_ns)


def _too_slow(view: ReplicaView, seen: Seen, now_ns: int) -> Move | None:
    """A stage that takes too long is given up, so that another node may do better."""
    if seen.boots:
        return None
    waited = now_ns - max(view.claimed_ns, seen.taken_ns)
    if view.state is ReplicaState.CLAIMED and seen.state is None:
        if waited < CLAIM_SECONDS_MAX * NS:
            return None
        why = f"the node did not take up the lease within {CLAIM_SECONDS_MAX} s"
        return Move(ReplicaEvent.CRASH, why, stops_lease=True, crashes=_count(view, seen))
    if view.state is ReplicaState.LOADING:
        waited = now_ns - view.state_ns
    if view.state is ReplicaState.READY or waited < view.start_seconds_max * NS:
        return None
    why = f"the worker was not ready within {view.start_seconds_max} s"
    return Move(ReplicaEvent.CRASH, why, stops_lease=True, crashes=_count(view, seen))


def _count(view: ReplicaView, seen: Seen) -> int:
    """The agent starts a worker anew by itself; its failed starts count as well."""
    return 0 if view.stop_asked else 1 + seen.restarts


def _drain(view: ReplicaView, drained: bool, now_ns: int) -> Move | None:
    if drained:
        return Move(ReplicaEvent.STOP, "nothing is in flight any more", stops_lease=True)
    if now_ns >= view.state_ns + view.drain_seconds_max * NS:
        why = f"{view.drain_seconds_max} s to drain are over"
        return Move(ReplicaEvent.STOP, why, stops_lease=True)
    return None


def _ended(view: ReplicaView, seen: Seen | None) -> Move:
    if view.crashed_ns is not None and view.reason:
        return Move(ReplicaEvent.END_FAILED, view.reason)
    why = (seen.reason if seen else "") or "the GPUs are free"
    event = ReplicaEvent.END if view.crashed_ns is None else ReplicaEvent.END_FAILED
    return Move(event, why)


def _guard_due(view: DeploymentView, now_ns: int) -> int | None:
    """When a guard may next say stop; None when there is none."""
    dues = []
    if view.max_duration_seconds is not None:
        dues.append(view.started_ns + view.max_duration_seconds * NS)
    idle_ns = _idle_due(view)
    if idle_ns is not None:
        dues.append(idle_ns)
    return min((max(due, now_ns) for due in dues), default=None)


def _all(replicas: Sequence[ReplicaView], reason: str) -> tuple[tuple[ReplicaId, str], ...]:
    return tuple((replica.replica_id, reason) for replica in replicas)


def _not_ready(replicas: Sequence[ReplicaView]) -> tuple[tuple[ReplicaId, str], ...]:
    unready = [r for r in replicas if r.state is not ReplicaState.READY]
    return _all(unready, "workers of this deployment fail again and again")


def _surplus(replicas: Sequence[ReplicaView], count: int) -> tuple[tuple[ReplicaId, str], ...]:
    """Those that cost least to lose: not yet placed first, then the least busy and youngest."""
    ordered = rollout_core.cheapest_first([_worker(replica) for replica in replicas])
    return tuple((one.replica_id, "scaled down") for one in ordered[:count])
