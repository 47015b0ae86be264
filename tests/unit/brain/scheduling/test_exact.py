"""The planner stops early, and still finds what looking at every offer finds."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain.scheduling import Board, Offer, PlanRequest, Shape, plan, scores
from brain.scheduling.filters import FILTERS, shape_on
from kernel.money import NANO
from tests.support.cases import cases
from tests.support.offers import ALIKE, CLOUD_OFFERS, NOW, OFFERS, REQUESTS, offer, request


def by_hand(wanted: PlanRequest, offers: list[Offer]) -> Offer | None:
    """The choice as the rules say it, over every offer: no shelf, no bound, no early stop."""
    fitting = []
    for one in offers:
        shape = shape_on(wanted, one)
        if shape is not None and not any(f.rejects(wanted, one, NOW) for f in FILTERS):
            worth = scores.cost(wanted, one, shape.gpus)
            fitting.append(((worth.score, one.price_nano, *one.key), one))
    return min(fitting, key=lambda entry: entry[0])[1] if fitting else None


@pytest.mark.feature("F1")
@settings(max_examples=cases(500))
@given(REQUESTS, OFFERS, CLOUD_OFFERS)
def test_the_early_stop_finds_what_looking_at_all_finds(
    wanted: PlanRequest, nodes: list[Offer], clouds: list[Offer]
) -> None:
    chosen = Board(nodes).beside(Board(clouds)).plan(wanted, NOW).chosen
    assert (chosen.offer if chosen else None) == by_hand(wanted, [*nodes, *clouds])


@pytest.mark.feature("F1")
@settings(max_examples=cases(500))
@given(ALIKE, st.sampled_from([1, 3600]), st.sampled_from([(1,), (2, 1)]))
def test_ties_are_broken_as_if_all_were_looked_at(
    offers: list[Offer], seconds: int, gpus: tuple[int, ...]
) -> None:
    wanted = request(*(Shape(count, 16_000) for count in gpus), seconds=seconds)
    chosen = plan(wanted, offers, NOW).chosen
    assert (chosen.offer if chosen else None) == by_hand(wanted, offers)


BETTER: list[tuple[dict[str, object], dict[str, object]]] = [
    ({"cold_start_seconds": 3600}, {"cold_start_seconds": 0}),
    ({"reliability_ppm": 500_000}, {"reliability_ppm": 1_000_000}),
    ({"failure_ppm": 1_000_000, "cold_start_seconds": 3600}, {"cold_start_seconds": 3600}),
    ({"storage_nano_gib_hour": NANO}, {"storage_nano_gib_hour": 0}),
    (
        {"storage_nano_gib_hour": NANO},
        {"storage_nano_gib_hour": NANO, "disk_gib_included": 100},
    ),
    ({"models": frozenset()}, {"models": frozenset({"m"})}),
]


@pytest.mark.feature("F1")
@pytest.mark.parametrize(("bad", "good"), BETTER, ids=lambda made: ",".join(made))
def test_a_dearer_offer_of_the_shelf_that_is_better_is_not_passed_over(
    bad: dict[str, object], good: dict[str, object]
) -> None:
    cheap, better = offer(1, **bad), offer(2, price_nano=NANO * 51 // 100, **good)
    wanted = request(storage_gib=100, model="m", fetch_seconds=3600)
    assert by_hand(wanted, [cheap, better]) is better
    chosen = plan(wanted, [cheap, better], NOW).chosen
    assert chosen is not None
    assert chosen.offer is better


@pytest.mark.feature("F1")
def test_an_equal_offer_behind_the_bound_of_its_shelf_still_wins_its_tie() -> None:
    """Both cost the same; the second shelf's bound is no more than what was found, not above."""
    dearer_place = offer(2, region="eu", price_nano=3600)
    same = offer(1, region="us", price_nano=3600)
    assert by_hand(request(), [dearer_place, same]) == same
    for offers in ([dearer_place, same], [same, dearer_place]):
        chosen = plan(request(), offers, NOW).chosen
        assert chosen is not None
        assert chosen.offer == same
