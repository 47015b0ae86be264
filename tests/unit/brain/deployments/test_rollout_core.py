"""Rollouts: the three laws in any world, and the steps that people expect."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain.deployments.rollout_core import (
    Bounds,
    Worker,
    cheapest_first,
    is_complete,
    rolls,
    serves,
    stuck,
    turn,
)
from brain.deployments.states import TERMINAL
from brain.deployments.states import ReplicaState as S
from kernel.clock import NS
from kernel.ids import ReplicaId
from tests.support.cases import cases

OLD, NEW = 1, 2
pytestmark = pytest.mark.feature("D3")


def worker(number: int, state: S = S.READY, revision: int = OLD, **more: object) -> Worker:
    ready = {"was_ready": state is S.READY, **more}
    return Worker(ReplicaId(f"rep_{number:032x}"), state, revision, **ready)  # type: ignore[arg-type]


def named(*workers: Worker) -> tuple[ReplicaId, ...]:
    return tuple(one.replica_id for one in workers)


def test_a_surge_is_added_before_anything_is_stopped() -> None:
    found = turn(Bounds(NEW, wanted=2), [worker(1), worker(2)])
    assert (found.add, found.stop) == (1, ())


def test_an_old_one_goes_when_every_gateway_knows_the_new_one() -> None:
    old, new = [worker(1), worker(2)], worker(3, revision=NEW, told=False)
    assert turn(Bounds(NEW, wanted=2), [*old, new]).stop == ()
    assert turn(Bounds(NEW, wanted=2), [*old, replace(new, told=True)]).stop == named(old[1])


def test_one_that_drains_holds_its_place_until_it_is_gone() -> None:
    drains = worker(1, S.DRAINING, stop_asked=True)
    there = [drains, worker(2), worker(3, revision=NEW)]
    assert turn(Bounds(NEW, wanted=2), there).add == 0
    assert turn(Bounds(NEW, wanted=2), there[1:]).add == 1


def test_one_that_failed_is_replaced_before_its_gpus_are_known_to_be_free() -> None:
    failed = worker(1, S.STOPPING, faulted=True)
    assert turn(Bounds(NEW, wanted=1, surge=0, unavailable=1), [failed, worker(2)]).add == 0
    assert turn(Bounds(NEW, wanted=1, surge=0, unavailable=1), [failed]).add == 1


def test_without_surge_one_goes_first() -> None:
    found = turn(Bounds(NEW, wanted=2, surge=0, unavailable=1), [worker(1), worker(2)])
    assert (found.add, len(found.stop)) == (0, 1)


def test_old_ones_that_never_served_go_at_once() -> None:
    waiting, loading = worker(1, S.PENDING), worker(2, S.LOADING)
    assert turn(Bounds(NEW, wanted=2), [waiting, loading]).stop == named(waiting, loading)


def test_an_old_one_that_faltered_is_kept_while_it_is_needed() -> None:
    faltered = worker(1, S.LOADING, was_ready=True)
    assert turn(Bounds(NEW, wanted=1), [faltered]).stop == ()
    new = worker(2, revision=NEW)
    assert turn(Bounds(NEW, wanted=1), [faltered, new]).stop == named(faltered)


def test_the_least_busy_goes_first_then_the_youngest() -> None:
    busy, calm, young = worker(1, in_flight=3), worker(2), worker(3)
    waits = worker(4, S.PENDING)
    assert cheapest_first([busy, calm, young, waits]) == [waits, young, calm, busy]


def test_nothing_is_complete_while_an_old_one_goes_on_or_none_is_wanted() -> None:
    new = worker(2, revision=NEW)
    assert is_complete(Bounds(NEW, wanted=1), [new])
    assert not is_complete(Bounds(NEW, wanted=1), [new, worker(1)])
    assert not is_complete(Bounds(NEW, wanted=0), [])
    assert not is_complete(Bounds(NEW, wanted=2), [new])


def test_a_rollout_that_stands_still_is_given_up() -> None:
    assert stuck(0, 60, 59 * NS) is None
    assert "60 s" in (stuck(0, 60, 60 * NS) or "")


def live(workers: list[Worker]) -> int:
    return sum(one.kept or one.leaving for one in workers)


def serving(workers: list[Worker]) -> int:
    return sum(serves(one, NEW) for one in workers)


FORWARD = {S.PENDING: S.CLAIMED, S.CLAIMED: S.LOADING, S.LOADING: S.READY}


class World:
    """Workers that move on by chance: they get ready, are heard of, drain, end and crash."""

    def __init__(self, bounds: Bounds, workers: list[Worker]) -> None:
        self.bounds = bounds
        self.workers = workers
        self.made = 1000

    def decide(self, *, lost: bool) -> None:
        """One step of the reconciler. ``lost``: it died before its commit."""
        found = turn(self.bounds, self.workers)
        stopped = sum(serves(w, NEW) for w in self.workers if w.replica_id in found.stop)
        if stopped:
            assert serving(self.workers) - stopped >= self.bounds.least
        before = live(self.workers)
        if found.add:
            assert before + found.add <= self.bounds.most
        if lost:
            return
        asked = set(found.stop)
        self.workers = [
            replace(w, stop_asked=True) if w.replica_id in asked else w for w in self.workers
        ]
        for _ in range(found.add):
            self.made += 1
            self.workers.append(worker(self.made, S.PENDING, NEW, told=False))

    def move(self, place: int, what: str) -> None:
        if not self.workers:
            return
        one = self.workers[place % len(self.workers)]
        self.workers[place % len(self.workers)] = moved(one, what)


def moved(one: Worker, what: str) -> Worker:
    """What may become of a worker; anything else leaves it as it is."""
    if one.state in TERMINAL:
        return one
    if what == "tell":
        return replace(one, told=one.told or one.state is S.READY)
    if what == "crash" and one.state not in (S.PENDING, S.STOPPING):
        return replace(one, state=S.STOPPING, faulted=True)
    if what == "falter" and one.state is S.READY and not one.stop_asked:
        return replace(one, state=S.LOADING, told=one.revision == OLD)
    if what != "go":
        return one
    if one.state is S.STOPPING:
        return replace(one, state=S.STOPPED)
    if one.stop_asked:
        ready, waits = one.state is S.READY, one.state is S.PENDING
        return replace(one, state=S.DRAINING if ready else S.STOPPED if waits else S.STOPPING)
    after = FORWARD.get(one.state, one.state)
    return replace(one, state=after, was_ready=one.was_ready or after is S.READY)


BOUNDS = st.builds(
    lambda wanted, surge, unavailable: Bounds(
        NEW, wanted, surge or int(not unavailable), unavailable
    ),
    st.integers(0, 6),
    st.integers(0, 3),
    st.integers(0, 3),
)
STEPS = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.sampled_from(["go", "go", "tell", "crash", "falter", "die", "decide"]),
    ),
    max_size=120,
)


def world(bounds: Bounds) -> World:
    return World(bounds, [worker(number) for number in range(bounds.wanted)])


@settings(max_examples=cases(300), deadline=None)
@given(BOUNDS, STEPS)
def test_the_laws_hold_in_any_order_of_steps_and_deaths(
    bounds: Bounds, steps: list[tuple[int, str]]
) -> None:
    here = world(bounds)
    for place, what in steps:
        if what in ("die", "decide"):
            here.decide(lost=what == "die")
        else:
            here.move(place, what)
        assert live(here.workers) <= bounds.most


@settings(max_examples=cases(150), deadline=None)
@given(BOUNDS, STEPS)
def test_it_ends_with_the_new_ones_alone(bounds: Bounds, steps: list[tuple[int, str]]) -> None:
    here = world(bounds)
    for place, what in steps:
        here.decide(lost=False) if what in ("die", "decide") else here.move(place, what)
    for _ in range(60 + 20 * bounds.wanted):
        here.decide(lost=False)
        for place in range(len(here.workers)):
            here.move(place, "go")
            here.move(place, "tell")
            if here.workers[place].state is S.DRAINING:
                here.workers[place] = replace(here.workers[place], state=S.STOPPING)
    assert not rolls(here.workers, NEW)
    assert [w.revision for w in here.workers if w.kept] == [NEW] * bounds.wanted
    assert turn(bounds, here.workers).add == 0
