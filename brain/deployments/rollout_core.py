"""Pure: how the workers of one revision take the place of another's, a few at a time.

Three laws, whatever happens meanwhile: by our own doing there are never fewer workers that serve
than ``wanted - unavailable``, never more that hold or wait for GPUs than ``wanted + surge``, and
with new workers that get ready it ends with ``wanted`` of the new revision and none of another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from brain.deployments.states import SURPLUS_ORDER, TERMINAL, ReplicaState
from kernel.clock import NS
from kernel.ids import ReplicaId

REVISIONS_KEPT = 50


@dataclass(frozen=True)
class Worker:
    """One replica. ``told``: every gateway has taken it up. ``faulted``: it failed by itself."""

    replica_id: ReplicaId
    state: ReplicaState
    revision: int
    stop_asked: bool = False
    told: bool = True
    was_ready: bool = False
    faulted: bool = False
    in_flight: int = 0

    @property
    def kept(self) -> bool:
        """It is to go on: nobody asked it to stop, and it does not end."""
        ends = self.state in TERMINAL or self.state is ReplicaState.STOPPING
        return not (self.stop_asked or ends)

    @property
    def leaving(self) -> bool:
        """It still holds GPUs, or a place in the queue for them, because we asked it to stop.

        One that failed is not counted: its replacement does not wait for the evidence.
        """
        return not (self.kept or self.state in TERMINAL or self.faulted)


@dataclass(frozen=True)
class Bounds:
    """``wanted`` workers of ``revision``; at least one of the two allowances is above zero."""

    revision: int
    wanted: int
    surge: int = 1
    unavailable: int = 0

    @property
    def least(self) -> int:
        return max(0, self.wanted - self.unavailable)

    @property
    def most(self) -> int:
        return self.wanted + self.surge


@dataclass(frozen=True)
class Turn:
    """What to do now: workers to add, and workers to stop."""

    add: int = 0
    stop: tuple[ReplicaId, ...] = ()


def rolls(workers: Sequence[Worker], revision: int) -> bool:
    """Is there still a worker of another revision that was not asked to stop?"""
    return any(one.kept and one.revision != revision for one in workers)


def serves(one: Worker, revision: int) -> bool:
    """Ready, and, if it is new, known to the gateways: only then may an old one go."""
    ready = one.kept and one.state is ReplicaState.READY
    return ready and (one.told or one.revision != revision)


def turn(bounds: Bounds, workers: Sequence[Worker]) -> Turn:
    """The next step of a rollout, from nothing but what is there. Repeating it is safe."""
    assert bounds.surge + bounds.unavailable > 0, "a rollout with no room at all cannot move"
    kept = [one for one in workers if one.kept]
    new = [one for one in kept if one.revision == bounds.revision]
    old = [one for one in kept if one.revision != bounds.revision]
    spare = sum(serves(one, bounds.revision) for one in kept) - bounds.least
    stop = [one for one in old if not one.was_ready and one.state is not ReplicaState.READY]
    if spare >= 0:  # those that faltered serve nobody, but may come back while they are needed
        stop += [one for one in old if one.was_ready and one.state is not ReplicaState.READY]
    for one in cheapest_first([o for o in old if o.state is ReplicaState.READY]):
        if spare > 0:
            stop.append(one)
            spare -= 1
    for one in cheapest_first(new)[: max(0, len(new) - bounds.wanted)]:
        if not serves(one, bounds.revision):
            stop.append(one)
        elif spare > 0:
            stop.append(one)
            spare -= 1
    live = len(kept) + sum(one.leaving for one in workers)
    missing = max(0, bounds.wanted - len(new))
    return Turn(
        add=max(0, min(missing, bounds.most - live)),
        stop=tuple(one.replica_id for one in stop),
    )


def is_complete(bounds: Bounds, workers: Sequence[Worker]) -> bool:
    """All that are wanted serve, and none of another revision goes on. Never with none wanted:
    nothing was proven then."""
    ready = sum(serves(o, bounds.revision) for o in workers if o.revision == bounds.revision)
    return 0 < bounds.wanted <= ready and not rolls(workers, bounds.revision)


def cheapest_first(workers: Sequence[Worker]) -> list[Worker]:
    """Those that cost least to lose: not yet placed, then the least busy, then the youngest."""
    rank = {state: place for place, state in enumerate(SURPLUS_ORDER)}
    ordered = sorted(workers, key=lambda one: one.replica_id, reverse=True)
    ordered.sort(key=lambda one: (rank.get(one.state, len(rank)), one.in_flight))
    return ordered


def stuck(since_ns: int, seconds_max: int, now_ns: int) -> str | None:
    """Why a rollout is given up, when nothing of it moved for too long."""
    if now_ns < since_ns + seconds_max * NS:
        return None
    return f"no worker of it got ready within {seconds_max} s"
