"""Requests planned together: as many as can be are placed, at what an exact solver needs."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.optimum import UNPLACED, optimum, over_optimum, random_case
from brain.scheduling import Board, Offer, PlanRequest, Shape, plan, plan_together
from brain.scheduling.together import TOGETHER_MAX, room_of
from tests.support.cases import cases
from tests.support.offers import CLOUD_OFFERS, NOW, OFFERS, REQUESTS, cloud_offer, offer, request

CASES = 150


@pytest.mark.feature("F1")
def test_plans_cost_at_most_two_percent_more_than_the_optimum() -> None:
    found = over_optimum(range(CASES))
    print(f"plans of {CASES} small markets: {found.percent:.3f} % over the optimum")
    print(f"one after the other: {found.alone_percent:.3f} % over, {found.alone_lost} not placed")
    assert found.lost == 0
    assert found.percent <= 2.0


@pytest.mark.feature("F1")
@pytest.mark.parametrize("seed", range(3))
def test_larger_cases_are_placed_as_well_as_can_be(seed: int) -> None:
    case = random_case(seed, offers=16, requests=10)
    plans = plan_together(Board(case.offers), case.requests, NOW)
    costs = [UNPLACED if p.chosen is None else p.chosen.cost.total_nano for p in plans]
    assert sum(costs) == optimum(case)[0]


@pytest.mark.feature("F3")
@settings(max_examples=cases(150))
@given(st.lists(REQUESTS, max_size=6), OFFERS, CLOUD_OFFERS)
def test_no_place_is_given_away_twice(
    wanted: list[PlanRequest], nodes: list[Offer], clouds: list[Offer]
) -> None:
    board = Board([*nodes, *clouds])
    used: Counter[object] = Counter()
    for made, asked in zip(plan_together(board, wanted, NOW), wanted, strict=True):
        if made.chosen is None:
            continue
        one = made.chosen.offer
        used[one] += 1 if one.cloud else made.chosen.gpus
        assert used[one] <= room_of(one)
        assert any(c.ok and c.offer == one for c in plan(asked, [one], NOW).candidates)
        assert made.summary


@given(REQUESTS, OFFERS)
def test_one_alone_is_planned_as_ever(wanted: PlanRequest, offers: list[Offer]) -> None:
    board = Board(offers)
    (made,) = plan_together(board, [wanted], NOW)
    assert made.chosen == board.plan(wanted, NOW).chosen


@pytest.mark.feature("F1")
def test_who_can_stand_elsewhere_leaves_the_only_place_of_another() -> None:
    small, large = offer(1, price_nano=10**9), offer(2, vram_mib=80_000, price_nano=10**8)
    first, second = plan_together(
        Board([small, large]), [request(), request(Shape(1, 40_000))], NOW
    )
    assert first.chosen is not None
    assert second.chosen is not None
    assert (first.chosen.offer, second.chosen.offer) == (small, large)
    assert "cheaper ones are left to what is placed with it" in first.summary


@pytest.mark.feature("F3")
def test_more_than_fit_at_once_share_what_there_is() -> None:
    clouds = [cloud_offer(1, machines=3), cloud_offer(2, machines=TOGETHER_MAX)]
    plans = plan_together(Board(clouds), [request()] * (TOGETHER_MAX + 5), NOW)
    placed = Counter(p.chosen.offer.offer_key for p in plans if p.chosen is not None)
    assert placed == {"k0001": 3, "k0002": TOGETHER_MAX}
    assert "is taken by what is placed with it" in plans[-1].summary
