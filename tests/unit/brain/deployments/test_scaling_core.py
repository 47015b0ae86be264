"""How many replicas a load needs: the ratio, its tolerance, the window, and zero."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from brain.deployments.scaling_core import Memory, Terms, Told, Verdict, decide, recommend
from kernel.clock import NS

TERMS = Terms(least=0, most=8, target=10, down_seconds=60, zero_seconds=120)
NOW = 10_000 * NS


def told(in_flight: float = 0, waiting: int = 0, seen_ns: int = NOW) -> Told:
    return Told(in_flight, waiting, 0.0, seen_ns)


def ask(
    *loads: Told,
    replicas: int,
    memory: Memory = Memory(),
    terms: Terms = TERMS,
    now_ns: int = NOW,
    since_ns: int = 0,
) -> Verdict:
    return decide(terms, loads, memory, replicas=replicas, since_ns=since_ns, now_ns=now_ns)


@pytest.mark.feature("D6")
def test_a_waiting_request_wakes_it() -> None:
    assert ask(told(waiting=1), replicas=0).replicas == 1


@pytest.mark.feature("D6")
def test_without_one_it_sleeps_on() -> None:
    assert ask(told(), replicas=0).replicas == 0


@pytest.mark.feature("D6")
def test_it_grows_at_once_to_what_the_load_of_all_gateways_needs() -> None:
    verdict = ask(told(20), told(12, waiting=3), replicas=1)
    assert verdict.replicas == 4
    assert verdict.reason == "32.0 in flight + 3 waiting over 10 each: 1 to 4 (most 8)"


def test_it_never_grows_beyond_the_most() -> None:
    assert ask(told(10_000), replicas=3).replicas == 8


@pytest.mark.parametrize(("load", "wanted"), [(21.9, 2), (22.1, 3), (18.1, 2), (17.9, 2), (9, 1)])
def test_near_enough_stays(load: float, wanted: int) -> None:
    assert recommend(load, 2, 10) == wanted


@pytest.mark.feature("D6")
def test_it_shrinks_only_when_the_window_agrees() -> None:
    first = ask(told(40), replicas=4)
    soon = NOW + 59 * NS
    held = ask(told(5, seen_ns=soon), replicas=4, memory=first.memory, now_ns=soon)
    late = soon + 2 * NS
    shrunk = ask(told(5, seen_ns=late), replicas=4, memory=held.memory, now_ns=late)
    assert (held.replicas, shrunk.replicas) == (4, 1)


@pytest.mark.feature("D6")
def test_it_sleeps_after_the_idle_time_and_not_before() -> None:
    memory = Memory(((NOW - 100 * NS, 2),), NOW - 119 * NS)
    soon = ask(told(), replicas=1, memory=memory)
    later = ask(told(), replicas=1, memory=replace(memory, busy_ns=NOW - 120 * NS))
    assert (soon.replicas, later.replicas) == (1, 0)
    assert later.reason == "idle for 120 s, of 120: 1 to 0"


def test_the_idle_time_begins_when_a_worker_could_answer() -> None:
    assert ask(told(), replicas=1, since_ns=NOW - 5 * NS).replicas == 1


def test_with_a_least_it_never_sleeps() -> None:
    terms = replace(TERMS, least=2)
    assert ask(told(), replicas=2, terms=terms).replicas == 2
    assert ask(told(), replicas=0, terms=terms).replicas == 2


@pytest.mark.feature("D6")
def test_a_silent_gateway_takes_nothing_away() -> None:
    silent = told(30, seen_ns=NOW - 20 * NS)
    assert ask(silent, replicas=3).replicas == 3
    assert ask(told(50), silent, replicas=3).replicas == 5


def test_a_gateway_that_is_gone_counts_no_more() -> None:
    assert ask(told(30, waiting=9, seen_ns=NOW - 200 * NS), replicas=3).replicas == 0


@pytest.mark.parametrize("seed", range(30))
def test_it_keeps_its_bounds_and_forgets(seed: int) -> None:
    """Any load: between least and most, zero only when idle, and no more kept than replicas."""
    chance, memory, replicas, now_ns = Random(seed), Memory(), 1, NOW
    terms = replace(TERMS, least=chance.choice([0, 1, 3]))
    for _ in range(300):
        now_ns += chance.randint(1, 30) * NS
        load = chance.choice([0, 0, 0, chance.random() * 120])
        waiting = chance.choice([0, 0, chance.randint(0, 40)])
        said = told(load, waiting, now_ns)
        verdict = ask(said, replicas=replicas, memory=memory, terms=terms, now_ns=now_ns)
        assert terms.least <= verdict.replicas <= terms.most
        assert verdict.replicas or not waiting
        assert len(verdict.memory.recommended) <= terms.most
        memory, replicas = verdict.memory, verdict.replicas


@pytest.mark.feature("D6")
def test_full_caches_make_it_grow_though_little_is_in_flight() -> None:
    full = Told(2, 0, 0.0, NOW, caches=1.5, queued=3)
    verdict = ask(full, replicas=1)
    assert verdict.replicas == 2
    assert verdict.reason == (
        "2.0 in flight + 0 waiting over 10 each, KV caches of 1.50 workers (3 queued there)"
        " over 0.8 each: 1 to 2 (most 8)"
    )


@pytest.mark.feature("D6")
def test_gateways_that_see_the_same_workers_do_not_count_twice() -> None:
    seen = Told(1, 0, 0.0, NOW, caches=1.5)
    assert ask(seen, seen, seen, replicas=1).replicas == 2


def test_the_load_that_needs_more_counts() -> None:
    assert ask(Told(40, 0, 0.0, NOW, caches=0.2), replicas=4).replicas == 4
    assert ask(Told(5, 0, 0.0, NOW, caches=2.4), replicas=3).replicas == 3


def test_what_a_gateway_told_of_caches_long_ago_is_forgotten() -> None:
    old = Told(0, 0, 0.0, NOW - 10 * NS, caches=8.0)
    assert ask(old, told(1), replicas=1).replicas == 1
