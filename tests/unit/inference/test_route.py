"""Which replica is chosen, and how failing ones are left alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from inference.route import Breaker, Replica, choose
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
    gone.gone = True
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
