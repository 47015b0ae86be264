"""Which replica is chosen, and how failing ones are left alone."""

from __future__ import annotations

from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from inference.route import BOUND, SHARE_MOST, Breaker, Replica, choose, prefix_of, weigh
from kernel.clock import NS
from kernel.wire.gateway import ReplicaState
from tests.support.gateway import replica_row


def replica(number: int, in_flight: int = 0, **fields: object) -> Replica[None]:
    return Replica(row=replica_row(1, number, **fields), links=None, in_flight=in_flight)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=10))
def test_the_least_busy_is_chosen(loads: list[int]) -> None:
    replicas = [replica(number, load) for number, load in enumerate(loads)]
    chosen = choose(replicas, 0)
    assert chosen is not None
    assert chosen.in_flight == min(loads)


def test_a_replica_with_more_gpus_takes_more() -> None:
    chosen = choose([replica(1, 2, gpus=1), replica(2, 3, gpus=4)], 0)
    assert chosen is not None
    assert chosen.row.gpus == 4


def test_draining_gone_and_tried_replicas_are_left_out() -> None:
    draining = replica(1, state=ReplicaState.DRAINING)
    gone = replica(2)
    gone.most = 0
    tried = replica(3)
    assert choose([draining, gone, tried], 0, [tried.row.replica_id]) is None


def test_two_failures_in_a_row_rest_a_replica() -> None:
    breaker = Breaker()
    breaker.failed(0)
    assert breaker.allows(0)
    breaker.failed(0)
    assert not breaker.allows(4 * NS)


def test_after_a_rest_one_request_tries_and_success_heals() -> None:
    breaker = Breaker(failures=2, rests=1, until_ns=5)
    assert breaker.allows(5)
    breaker.starts()
    assert not breaker.allows(6)
    breaker.succeeded()
    assert breaker.allows(6)


def test_a_try_that_says_nothing_lets_another_try() -> None:
    breaker = Breaker(failures=2, rests=1, until_ns=5)
    breaker.starts()
    breaker.settle(None, 6)
    assert breaker.allows(6)


def test_an_outage_of_a_minute_costs_at_most_four_tries() -> None:
    breaker, tries = Breaker(), 0
    for tenth in range(600):
        now_ns = tenth * NS // 10
        if breaker.allows(now_ns):
            breaker.starts()
            breaker.failed(now_ns)
            tries += 1
    assert tries <= 4


PREFIXES = st.integers(1, 2**32 - 1)


@given(PREFIXES, st.integers(2, 9))
def test_the_same_beginning_goes_to_the_same_replica_while_that_is_idle(
    prefix: int, count: int
) -> None:
    first = choose([replica(number) for number in range(count)], 0, prefix=prefix)
    again = choose([replica(number) for number in reversed(range(count))], 0, prefix=prefix)
    assert first is not None
    assert again is not None
    assert first.row.replica_id == again.row.replica_id


@given(st.lists(PREFIXES, min_size=1, max_size=60), st.integers(2, 6))
def test_no_replica_gets_more_than_its_bound(prefixes: list[int], count: int) -> None:
    replicas = [replica(number, gpus=1 + number % 2) for number in range(count)]
    gpus = sum(one.row.gpus for one in replicas)
    for running, prefix in enumerate(prefixes, 1):
        chosen = choose(replicas, 0, prefix=prefix)
        assert chosen is not None
        chosen.in_flight += 1
        assert chosen.in_flight <= ceil(BOUND * running * chosen.row.gpus / gpus)


def test_a_replica_that_goes_moves_its_own_prefixes_alone() -> None:
    replicas = [replica(number) for number in range(5)]
    rest = replicas[1:]
    for prefix in range(1, 300):
        before, after = choose(replicas, 0, prefix=prefix), choose(rest, 0, prefix=prefix)
        assert before is replicas[0] or before is after


def test_prefixes_spread_over_the_replicas() -> None:
    replicas = [replica(number) for number in range(4)]
    got = [0] * 4
    for number in range(4000):
        chosen = choose(replicas, 0, prefix=prefix_of(f"system prompt {number}".encode(), "acct_1"))
        assert chosen is not None
        got[replicas.index(chosen)] += 1
    assert all(800 < count < 1200 for count in got), got


def test_a_prefix_is_an_accounts_own() -> None:
    assert prefix_of(b"the same", "acct_1") != prefix_of(b"the same", "acct_2")
    assert prefix_of(b"", "acct_1") == 0, "no prompt, no choice by it"


def test_a_faster_replica_gets_more_within_a_limit() -> None:
    slow, fast, new = replica(1), replica(2), replica(3)
    for _ in range(50):
        slow.paced(40 * 10**9, 100)
        fast.paced(10**9, 100)
        fast.paced(10**9, 1)  # too few tokens to tell
    weigh([slow, fast, new])
    assert new.share == 1.0
    assert 1 / SHARE_MOST <= slow.share < 1 < fast.share <= SHARE_MOST
    slow.in_flight = fast.in_flight = new.in_flight = 4
    assert choose([slow, fast, new], 0) is fast
