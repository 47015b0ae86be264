"""Slices and holds: never more admitted than granted, nothing held for ever."""

from __future__ import annotations

import random

import pytest

from inference.route import Replica
from inference.slices import Hold, Purse, Slice, Waiter, raise_to, settle
from inference.tab import Tab
from kernel.clock import NS
from kernel.errors import GanglionError
from tests.support.gateway import deployment_row, replica_row

HOUR_NANO = 3_600_000_000_000


def purse(*granted: int) -> Purse:
    return Purse([Slice(f"hold_{n}", amount, 0) for n, amount in enumerate(granted)])


def test_a_hold_is_taken_where_it_fits() -> None:
    hold = purse(5, 10).take(7, now_ns=1)
    assert hold is not None
    assert hold.slice.slice_id == "hold_1"


@pytest.mark.parametrize("seed", range(10))
def test_admitted_is_never_more_than_granted(seed: int) -> None:
    chance, held = random.Random(seed), purse(100, 50)
    holds: list[Hold] = []
    for _ in range(500):
        hold = held.take(chance.randrange(40), 0)
        if hold is not None:
            holds.append(hold)
        if holds and chance.random() < 0.5:
            chosen = holds.pop(chance.randrange(len(holds)))
            settle(chosen, chance.randrange(chosen.amount + 1), 0)
        assert all(piece.used + piece.held <= piece.granted for piece in held.slices)
        assert sum(hold.amount for hold in holds) == sum(piece.held for piece in held.slices)


def test_an_overrun_is_counted_in_full() -> None:
    one = purse(10)
    hold = one.take(5, 0)
    assert hold is not None
    settle(hold, 25, 0)
    assert one.slices[0].free == -15
    assert one.take(0, 0) is None


def test_a_hold_is_raised_only_within_its_slice() -> None:
    hold = purse(10).take(4, 0)
    assert hold is not None
    assert raise_to(hold, 10)
    assert not raise_to(hold, 11)
    assert hold.amount == hold.slice.held == 10


def waiting(one: Purse, *needs: int) -> list[Hold | GanglionError | None]:
    answers: list[Hold | GanglionError | None] = [None] * len(needs)
    for place, need in enumerate(needs):
        answer = lambda given, place=place: answers.__setitem__(place, given)  # noqa: E731
        one.waiters.append(Waiter(need, until_ns=5, answer=answer))
    return answers


def test_a_slice_serves_those_who_wait_in_order() -> None:
    one = Purse()
    answers = waiting(one, 4, 4, 4)
    assert one.wanted(usual=1) == (12, 4)
    one.granted(Slice("hold_x", 9, 0), 0)
    assert [isinstance(answer, Hold) for answer in answers] == [True, True, False]
    assert len(one.waiters) == 1


def test_a_refusal_fails_all_who_wait_and_is_remembered_for_a_second() -> None:
    one = Purse()
    answers = waiting(one, 4, 4)
    one.declined(now_ns=10)
    assert [getattr(answer, "status", None) for answer in answers] == [402, 402]
    assert one.refused(10 + NS - 1)
    assert not one.refused(10 + NS)


def test_who_waits_too_long_hears_that_the_books_are_away() -> None:
    one = Purse()
    answers = waiting(one, 4)
    one.expire(4)
    assert answers == [None]
    one.expire(5)
    assert getattr(answers[0], "status", None) == 503


def test_idle_and_empty_slices_go_back_and_busy_ones_stay() -> None:
    one = purse(10, 10, 10)
    busy = one.take(10, now_ns=0)
    empty = one.take(10, now_ns=99)
    assert busy is not None
    assert empty is not None
    settle(empty, 10, 99)
    assert [piece.slice_id for piece in one.idle(100, idle_ns=50)] == ["hold_1", "hold_2"]
    assert one.slices == [busy.slice]


def tab(granted: int = 1 << 60, gpus: int = 2) -> tuple[Tab[None], Replica[None], Slice]:
    piece = Slice("hold_x", granted, 0, held=1)
    replica: Replica[None] = Replica(row=replica_row(1, gpus=gpus), links=None)
    return Tab("req_1", deployment_row(rate_nano=HOUR_NANO), Hold(piece, 1)), replica, piece


def test_a_request_alone_costs_all_gpus_for_its_time() -> None:
    one, replica, piece = tab()
    one.enter(replica, 0, weight=1)
    one.close(3 * NS, None)
    assert piece.used == 6 * 10**9
    assert piece.held == 0


def test_two_requests_share() -> None:
    one, replica, piece = tab()
    other = Tab("req_2", deployment_row(rate_nano=HOUR_NANO), Hold(piece, 0))
    one.enter(replica, 0, weight=1)
    other.enter(replica, 0, weight=3)
    one.close(4 * NS, None)
    other.leave(4 * NS)
    assert piece.used == 2 * 10**9
    assert other.cost == 6 * 10**9


def test_a_cut_raises_the_hold_until_the_slice_has_no_more() -> None:
    one, replica, piece = tab(granted=150 * 10**9)
    one.enter(replica, 0, weight=1)
    assert one.cut(10 * NS, 10 * NS)
    assert piece.held == 20 * 10**9 + 60 * 10**9
    assert not one.cut(50 * NS, 10 * NS)


def test_a_cut_leaves_a_request_alone_whose_hold_still_lasts() -> None:
    one, replica, piece = tab(granted=80 * 10**9)
    one.enter(replica, 0, weight=1)
    assert one.cut(10 * NS, 10 * NS)
    assert one.cut(20 * NS, 10 * NS)
    assert piece.held == 80 * 10**9
    assert one.cut(30 * NS, 10 * NS)
    assert not one.cut(31 * NS, 10 * NS)


def test_going_on_against_another_slice_pays_each_part_once() -> None:
    one, replica, piece = tab()
    one.enter(replica, 0, weight=1)
    one.cut(10 * NS, 10 * NS)
    other = Slice("hold_y", 1 << 60, 0, held=5)
    one.move(Hold(other, 5), 10 * NS)
    one.close(20 * NS, None)
    assert piece.held == other.held == 0
    assert piece.used + other.used == 40 * 10**9
