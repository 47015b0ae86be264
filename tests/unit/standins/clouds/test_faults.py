"""The clouds' fault plan: read strictly, met in order, by count, by chance, and for a time."""

from __future__ import annotations

import random

import pytest

from kernel.clock import NS
from standins.clouds.faults import Fault, FaultKind, FaultPlan, Operation, When, read_faults

CHANCE = random.Random(1)


def test_one_fault_or_a_list_is_read() -> None:
    given = {"fault": "broken", "operation": "create", "when": "after", "status": 502}
    wanted = Fault(FaultKind.BROKEN, Operation.CREATE, when=When.AFTER, status=502)
    assert read_faults(given) == (wanted,)
    assert len(read_faults([{"fault": "late"}, {"fault": "clock_off", "seconds": -3600}])) == 2


@pytest.mark.parametrize(
    "given",
    [
        "cut",
        {},
        {"fault": "explode"},
        {"fault": "cut", "afterwards": 1},
        {"fault": "cut", "next": -1},
        {"fault": "cut", "next": True},
        {"fault": "late", "seconds": -1},
        {"fault": "late", "rate": "often"},
        {"fault": "late", "when": "never"},
        {"fault": "late", "operation": "dance"},
        {"fault": "ghost", "operation": "list"},
        {"fault": "price", "price_nano": 0.5},
        [{"fault": "late"}] * 201,
    ],
)
def test_nonsense_is_refused_with_words(given: object) -> None:
    with pytest.raises(ValueError, match=r"\w+"):
        read_faults(given)


def taken(plan: FaultPlan, operation: Operation, times: int, now_ns: int = 0) -> list[bool]:
    return [plan.take(operation, CHANCE, now_ns) is not None for _ in range(times)]


def test_a_fault_skips_some_and_is_met_by_the_next() -> None:
    plan = FaultPlan([Fault(FaultKind.BROKEN, Operation.LIST, next=2, skip=1)])
    assert taken(plan, Operation.GET, 1) == [False]
    assert taken(plan, Operation.LIST, 4) == [False, True, True, False]


def test_a_fault_without_an_operation_is_met_where_it_has_a_meaning() -> None:
    plan = FaultPlan([Fault(FaultKind.GHOST)])
    assert taken(plan, Operation.LIST, 1) == [False]
    assert taken(plan, Operation.CREATE, 1) == [True]


def test_a_fault_for_a_time_ends_with_it() -> None:
    plan = FaultPlan([Fault(FaultKind.BROKEN, next=0, for_seconds=86_400)], now_ns=NS)
    assert taken(plan, Operation.TERMINATE, 3, 86_400 * NS) == [True] * 3
    assert taken(plan, Operation.TERMINATE, 1, 86_401 * NS) == [False]


def test_a_rate_is_a_share_of_the_calls() -> None:
    plan = FaultPlan([Fault(FaultKind.THROTTLED, next=0, rate=0.3)])
    assert 2_700 < sum(taken(plan, Operation.CREATE, 10_000)) < 3_300


def test_what_is_left_is_told_and_can_be_cleared() -> None:
    plan = FaultPlan([Fault(FaultKind.CUT, next=3)])
    taken(plan, Operation.GET, 1)
    (left,) = plan.left()
    assert (left["fault"], left["next"]) == ("cut", 2)
    plan.clear()
    assert plan.left() == []
