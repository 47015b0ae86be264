"""When a window may close: what gateways told, and what the brain could hear."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain.billing.core.coverage import Boot, Receiving, closable_until
from kernel.errors import BadInput
from kernel.receipt import recompute
from tests.support.cases import cases

pytestmark = pytest.mark.feature("G1")


def until(*boots: Boot, last: int = 1_000, gaps: tuple[tuple[int, int], ...] = ()) -> int:
    return closable_until(boots, Receiving(last, gaps), now_ns=1_000, wait_ns=120)


def test_without_gateways_nothing_more_can_come() -> None:
    assert until() == 1_000


def test_the_slowest_gateway_decides() -> None:
    assert until(Boot(0, 990, 990, 950, 990), Boot(0, 990, 985, 970, 985)) == 950


def test_a_replica_that_a_statement_does_not_list_is_told_up_to_it() -> None:
    assert until(Boot(0, 990, 980, until_ns=300, listed_ns=310)) == 980
    assert until(Boot(0, 990, 975)) == 975


def test_a_boot_has_nothing_from_before_its_hello() -> None:
    assert until(Boot(960, 990, 990, until_ns=100, listed_ns=990)) == 960


def test_a_silent_gateway_is_waited_for_so_long_and_no_longer() -> None:
    assert until(Boot(0, 900, 900, 500, 900)) == 880
    assert until(Boot(0, 870, 870, 500, 870)) == 1_000


def test_the_brains_absence_is_not_waiting() -> None:
    silent = Boot(0, 600, 600, 400, 600)
    assert until(silent, last=1_000, gaps=((610, 990),)) == 500


def test_a_closed_boot_has_told_everything() -> None:
    assert until(Boot(0, 990, 990, 500, 990, closed=True)) == 1_000


@settings(max_examples=cases(3000, part=30), deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 990), st.integers(1, 60)), max_size=5),
    st.integers(0, 900),
)
def test_going_back_is_the_inverse_of_counting(gaps: list[tuple[int, int]], span: int) -> None:
    apart: list[tuple[int, int]] = []
    for start, length in sorted(gaps):
        if not apart or start > apart[-1][1]:
            apart.append((start, min(start + length, 1_000)))
    receiving = Receiving(1_000, tuple(apart))
    moment = receiving.back(span)
    away = {at for start, end in apart for at in range(start, end)}
    assert len(set(range(moment, 1_000)) - away) == span == receiving.since(moment)
    assert span == 0 or moment not in away  # the latest such moment


@pytest.mark.parametrize(
    "nonsense",
    [{}, {"v": 2}, {"v": 1, "kind": "poem"}, {"v": 1, "kind": "request"}, {"v": 1, "kind": []}],
)
def test_what_is_no_receipt_is_told_so(nonsense: dict[str, object]) -> None:
    with pytest.raises(BadInput):
        recompute(nonsense)
