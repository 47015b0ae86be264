"""The line of waiting requests: bounded, and fair between accounts."""

from __future__ import annotations

from random import Random

import pytest

from inference.fair_queue import Entry, FairQueue

FLOOD, OTHER, THIRD = "acct_a", "acct_b", "acct_c"


def entry(account: str, number: int, *, size: int = 1, place: str = "dep") -> Entry[int]:
    return Entry(place, account, size, number, number)


def fill(queue: FairQueue[int], account: str, count: int, *, start: int = 0) -> None:
    for number in range(start, start + count):
        queue.add(entry(account, number))


@pytest.mark.feature("D6")
def test_accounts_take_turns() -> None:
    queue: FairQueue[int] = FairQueue(100, 100)
    fill(queue, FLOOD, 5)
    fill(queue, OTHER, 2, start=10)
    taken = [queue.take("dep") for _ in range(7)]
    assert [one.item for one in taken if one] == [0, 10, 1, 11, 2, 3, 4]


@pytest.mark.feature("D6")
def test_a_thousand_requests_of_one_account_do_not_keep_another_out() -> None:
    queue: FairQueue[int] = FairQueue(1000, 10**6)
    fill(queue, FLOOD, 1000)
    out = queue.add(entry(OTHER, 5000))
    assert [(one.account, one.item) for one in out] == [(FLOOD, 999)]
    taken = [queue.take("dep"), queue.take("dep")]
    assert [one.account for one in taken if one] == [FLOOD, OTHER]


def test_who_has_the_most_is_refused_itself() -> None:
    queue: FairQueue[int] = FairQueue(3, 100)
    fill(queue, FLOOD, 3)
    newcomer = entry(FLOOD, 9)
    assert queue.add(newcomer) == [newcomer]
    assert queue.count == 3


def test_a_full_line_is_shared_evenly() -> None:
    queue: FairQueue[int] = FairQueue(1000, 10**6)
    for account in (FLOOD, OTHER, THIRD):
        fill(queue, account, 1000)
    counts = [sum(e.account == a for e in queue.entries()) for a in (FLOOD, OTHER, THIRD)]
    assert queue.count == 1000
    assert max(counts) - min(counts) <= 1


def test_bytes_are_bounded_too() -> None:
    queue: FairQueue[int] = FairQueue(100, 10)
    queue.add(entry(FLOOD, 1, size=8))
    out = queue.add(entry(OTHER, 2, size=4))
    assert [one.item for one in out] == [1]
    assert queue.size == 4


def test_what_no_line_could_hold_is_refused() -> None:
    queue: FairQueue[int] = FairQueue(100, 10)
    huge = entry(OTHER, 1, size=11)
    assert queue.add(huge) == [huge]
    assert (queue.count, queue.size, queue.places()) == (0, 0, [])


def test_who_leaves_is_not_taken() -> None:
    queue: FairQueue[int] = FairQueue(10, 10)
    leaver = entry(FLOOD, 1)
    queue.add(leaver)
    assert queue.remove(leaver)
    assert not queue.remove(leaver)
    assert queue.take("dep") is None


@pytest.mark.parametrize("seed", range(20))
def test_it_never_holds_more_and_loses_nobody(seed: int) -> None:
    chance = Random(seed)
    queue: FairQueue[int] = FairQueue(chance.randint(1, 40), chance.randint(1, 200))
    inside: set[Entry[int]] = set()
    for number in range(400):
        account, place = chance.choice("abcde"), chance.choice("xyz")
        if chance.random() < 0.7:
            made = entry(account, number, size=chance.randint(0, 30), place=place)
            inside.add(made)
            inside -= set(queue.add(made))
        else:
            inside.discard(queue.take(place))  # type: ignore[arg-type]
        assert set(queue.entries()) == inside
        assert queue.count == len(inside) <= queue._count_max
        assert queue.size == sum(one.size for one in inside) <= queue._bytes_max
