"""The planner: never a rejected offer, always the cheapest, the same for any order of input."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain.scheduling import Board, Offer, PlanRequest, Prefer, Shape, Trust, plan
from brain.scheduling.filters import FILTERS
from kernel.clock import NS
from kernel.errors import BadInput
from kernel.money import NANO
from tests.support.cases import cases
from tests.support.offers import NOW, OFFERS, REQUESTS, cloud_offer, node_id, offer, request


@pytest.mark.feature("F1")
@settings(max_examples=cases(500))
@given(REQUESTS, OFFERS)
def test_the_fast_choice_is_the_best_of_all_that_fit(
    wanted: PlanRequest, offers: list[Offer]
) -> None:
    found = plan(wanted, offers, NOW)
    good = [candidate for candidate in found.candidates if candidate.ok]
    assert (found.chosen is None) == (not good)
    if found.chosen is not None:
        assert found.chosen.offer == good[0].offer
        assert found.chosen.cost.score == good[0].score == min(c.score or 0 for c in good)


@pytest.mark.feature("D4")
@given(REQUESTS, OFFERS)
def test_every_offer_is_told_of_with_a_reason(wanted: PlanRequest, offers: list[Offer]) -> None:
    found = plan(wanted, offers, NOW)
    assert sorted(c.offer.key for c in found.candidates) == sorted(o.key for o in offers)
    assert all(c.reasons and all(c.reasons) for c in found.candidates)
    assert found.summary


@pytest.mark.feature("F1")
@given(REQUESTS, OFFERS, st.randoms(use_true_random=False))
def test_the_order_of_the_offers_does_not_matter(
    wanted: PlanRequest, offers: list[Offer], chance: object
) -> None:
    shuffled = list(offers)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = plan(wanted, offers, NOW), plan(wanted, shuffled, NOW)
    assert (first.chosen, first.candidates) == (second.chosen, second.candidates)


@given(REQUESTS, OFFERS)
def test_a_choice_holds_what_was_asked_for(wanted: PlanRequest, offers: list[Offer]) -> None:
    chosen = plan(wanted, offers, NOW).chosen
    if chosen is not None:
        fits = [s for s in wanted.shapes if s.vram_mib <= chosen.offer.vram_mib]
        assert chosen.gpus in {shape.gpus for shape in fits}
        assert chosen.gpus <= chosen.offer.free


REJECTED = [
    ("avoided", {"avoid": {node_id(1): "It failed a minute ago."}}, {}),
    ("only", {"only": node_id(2), "only_why": "What it needs lies elsewhere."}, {}),
    ("clouds", {"clouds": False}, {"node_id": None, "cloud": "a-cloud", "offer_key": "k"}),
    (
        "image",
        {"refused_by": {"a-cloud": "A cloud takes no such image."}},
        {"node_id": None, "cloud": "a-cloud", "offer_key": "k"},
    ),
    ("withheld", {}, {"withheld": "It fell silent."}),
    ("freshness", {}, {"seen_ns": NOW - 26 * NS}),
    ("simulated", {}, {"simulated": True}),
    ("containers", {"containers": True}, {}),
    ("gpu", {"gpu_names": frozenset({"H100"})}, {}),
    ("memory", {}, {"vram_mib": 8_000}),
    ("count", {}, {"free": 0}),
    ("price", {"price_nano_max": NANO // 4}, {}),
    ("region", {"regions": frozenset({"eu"})}, {"region": "us"}),
    ("spot", {}, {"spot": True}),
    ("reliability", {"reliability_ppm_min": 990_000}, {"reliability_ppm": 980_000}),
    ("trust", {"trust_min": Trust.OWN}, {}),
    ("duration", {}, {"seconds_max": 3599}),
    ("disk", {"storage_gib": 101}, {"disk_gib_max": 100}),
    ("budget", {"budget_nano": NANO // 2}, {}),
]


@pytest.mark.feature("F2")
@pytest.mark.parametrize(("name", "asked", "offered"), REJECTED, ids=[r[0] for r in REJECTED])
def test_each_constraint_rejects_alone_and_says_so(
    name: str, asked: dict[str, object], offered: dict[str, object]
) -> None:
    assert plan(request(), [offer()], NOW).chosen is not None
    found = plan(request(**asked), [offer(**offered)], NOW)
    assert found.chosen is None
    assert len(found.candidates[0].reasons) == 1
    assert found.candidates[0].reasons[0].rstrip(".") in found.summary


def test_every_filter_is_tested_above() -> None:
    assert [one.name for one in FILTERS] == [name for name, _, _ in REJECTED]


@pytest.mark.feature("D4")
@given(REQUESTS, OFFERS)
def test_what_is_worth_reading_agrees_with_the_whole(
    wanted: PlanRequest, offers: list[Offer]
) -> None:
    found = plan(wanted, offers, NOW)
    good = [candidate for candidate in found.candidates if candidate.ok]
    assert (found.why.offers, found.why.fitting) == (len(offers), len(good))
    assert found.why.candidates == found.candidates
    assert sum(count for _, count in found.why.often) <= len(offers) - len(good)


@pytest.mark.feature("D4")
def test_of_many_offers_some_that_fit_and_some_that_do_not_are_told() -> None:
    offers = [offer(n, free=n % 2) for n in range(1, 1001)]
    told = plan(request(), offers, NOW).why
    assert (len(told.candidates), told.offers, told.fitting) == (50, 1000, 500)
    assert [candidate.ok for candidate in told.candidates] == [True] * 35 + [False] * 15


@pytest.mark.feature("D4")
def test_a_cloud_that_rests_is_told_of_with_when_it_is_tried_again() -> None:
    shut = cloud_offer(withheld="There was no capacity.", withheld_until_ns=NOW + 30 * NS)
    found = plan(request(), [shut], NOW)
    assert found.candidates[0].reasons == ("There was no capacity. It is tried again in 30 s.",)
    assert plan(request(), [shut], NOW + 30 * NS).chosen is not None


@pytest.mark.feature("F1")
def test_a_clouds_machine_is_taken_whole_or_not_at_all() -> None:
    eight = cloud_offer(gpus=8, vram_mib=81_920)
    alone = plan(request(Shape(1, 16_000)), [eight], NOW)
    assert alone.chosen is None
    assert alone.candidates[0].reasons == ("It is rented whole, with 8 GPUs; 1 can be used.",)
    split = plan(request(Shape(1, 16_000), Shape(8, 16_000)), [eight], NOW).chosen
    assert split is not None
    assert split.gpus == 8


@pytest.mark.feature("F2")
def test_a_cloud_that_often_fails_is_dearer_in_the_end() -> None:
    cheap = cloud_offer(1, failure_ppm=900_000, cold_start_seconds=1200)
    sound = cloud_offer(2, failure_ppm=0, price_nano=NANO * 55 // 100, cold_start_seconds=60)
    chosen = plan(request(), [cheap, sound], NOW).chosen
    assert chosen is not None
    assert chosen.offer is sound


@pytest.mark.feature("F2")
def test_a_place_that_has_the_models_files_starts_sooner() -> None:
    far, near = offer(1), offer(2, models=frozenset({"m"}))
    chosen = plan(request(model="m", fetch_seconds=600), [far, near], NOW).chosen
    assert chosen is not None
    assert chosen.offer is near


@pytest.mark.feature("F2")
def test_spread_leaves_the_neighbourhood_and_pack_fills_it() -> None:
    used, empty = offer(1, free=2, total=8), offer(2, free=8, total=8)
    apart = request(prefer=Prefer.SPREAD, beside={node_id(1): 1})
    together = request(prefer=Prefer.PACK)
    for wanted, expected in ((apart, empty), (together, used)):
        chosen = plan(wanted, [used, empty], NOW).chosen
        assert chosen is not None
        assert chosen.offer is expected
        assert chosen.cost.total_nano <= chosen.cost.score


def test_a_tie_goes_to_the_lower_node() -> None:
    chosen = plan(request(), [offer(3), offer(2), offer(7)], NOW).chosen
    assert chosen is not None
    assert chosen.node_id == node_id(2)


@pytest.mark.feature("F2")
def test_an_unreliable_node_can_be_dearer_in_the_end() -> None:
    cheap = offer(1, price_nano=NANO, reliability_ppm=500_000)
    sound = offer(2, price_nano=NANO * 11 // 10)
    chosen = plan(request(seconds=36_000), [cheap, sound], NOW).chosen
    assert chosen is not None
    assert chosen.node_id == node_id(2)


def test_fewer_gpus_are_taken_where_either_shape_fits() -> None:
    both = request(Shape(4, 16_000), Shape(1, 80_000))
    chosen = plan(both, [offer(free=8, total=8, vram_mib=81_920)], NOW).chosen
    assert chosen is not None
    assert chosen.gpus == 1


def test_a_board_answers_many_requests() -> None:
    board = Board([offer(1), offer(2, gpu_name="NVIDIA H100", vram_mib=81_559)])
    large = board.plan(request(Shape(1, 80_000)), NOW).chosen
    small = board.plan(request(), NOW).chosen
    assert large is not None
    assert small is not None
    assert (large.node_id, small.node_id) == (node_id(2), node_id(1))


def test_no_offers_is_said() -> None:
    assert plan(request(), [], NOW).summary == "No node is enrolled."


def test_the_sum_of_the_cost_is_shown() -> None:
    made = offer(reliability_ppm=990_000, storage_nano_gib_hour=100)
    found = plan(request(storage_gib=10), [made], NOW)
    assert found.chosen is not None
    cost = found.chosen.cost
    parts = (cost.rent_nano, cost.storage_nano, cost.cold_start_nano, cost.failure_risk_nano)
    assert sum(parts) == cost.total_nano
    assert len(found.candidates[0].reasons) == 1 + len(parts)


@pytest.mark.parametrize("shape", [(0, 1), (65, 1), (1, -1)])
def test_a_shape_that_cannot_be_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(BadInput):
        Shape(*shape)


def test_a_request_without_a_shape_is_refused() -> None:
    with pytest.raises(BadInput):
        PlanRequest(shapes=())
    with pytest.raises(BadInput):
        dataclasses.replace(request(), seconds=0)
