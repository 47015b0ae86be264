"""The planner: never a rejected offer, always the cheapest, the same for any order of input."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain.scheduling import Board, Offer, PlanRequest, Shape, Trust, plan
from brain.scheduling.filters import FILTERS
from kernel.clock import NS
from kernel.errors import BadInput
from kernel.ids import NodeId
from kernel.money import NANO

NOW = 1_000 * NS


def node_id(number: int) -> NodeId:
    return NodeId(f"node_{number:032x}")


def offer(number: int = 1, **changes: object) -> Offer:
    values: dict[str, object] = {
        "node_id": node_id(number),
        "gpu_name": "NVIDIA L4",
        "vram_mib": 23034,
        "free": 1,
        "total": 1,
        "price_nano": NANO // 2,
        "seen_ns": NOW - NS,
    }
    return Offer(**{**values, **changes})  # type: ignore[arg-type]


def request(*shapes: Shape, **changes: object) -> PlanRequest:
    return PlanRequest(shapes=shapes or (Shape(1, 16_000),), **changes)  # type: ignore[arg-type]


OFFERS = st.lists(
    st.builds(
        offer,
        number=st.integers(1, 1000),
        gpu_name=st.sampled_from(["NVIDIA L4", "NVIDIA H100", "Simulated GPU"]),
        vram_mib=st.sampled_from([16_384, 24_576, 81_920]),
        free=st.integers(0, 8),
        total=st.just(8),
        price_nano=st.integers(0, 4) | st.integers(0, 3 * NANO),
        seen_ns=st.integers(NOW - 60 * NS, NOW),
        region=st.sampled_from(["", "eu", "us"]),
        spot=st.booleans(),
        reliability_ppm=st.integers(900_000, 1_000_000),
        trust=st.sampled_from(list(Trust)),
        simulated=st.booleans(),
        engine=st.sampled_from(["process", "docker"]),
        cold_start_seconds=st.integers(0, 600),
        storage_nano_gib_hour=st.integers(0, 1000),
        withheld=st.sampled_from(["", "", "", "It fell silent."]),
    ),
    max_size=40,
    unique_by=lambda made: made.key,
)
REQUESTS = st.builds(
    PlanRequest,
    shapes=st.lists(
        st.builds(Shape, st.integers(1, 8), st.sampled_from([0, 16_000, 24_000, 80_000])),
        min_size=1,
        max_size=3,
    ).map(tuple),
    regions=st.sampled_from([frozenset[str](), frozenset({"eu"})]),
    gpu_names=st.sampled_from([frozenset[str](), frozenset({"h100"})]),
    price_nano_max=st.none() | st.integers(0, 3 * NANO),
    spot=st.booleans(),
    simulated=st.booleans(),
    containers=st.booleans(),
    reliability_ppm_min=st.sampled_from([0, 950_000]),
    trust_min=st.sampled_from(list(Trust)),
    seconds=st.integers(1, 86_400),
    storage_gib=st.integers(0, 100),
)


@pytest.mark.feature("F1")
@settings(max_examples=500)
@given(REQUESTS, OFFERS)
def test_the_fast_choice_is_the_best_of_all_that_fit(
    wanted: PlanRequest, offers: list[Offer]
) -> None:
    found = plan(wanted, offers, NOW)
    good = [candidate for candidate in found.candidates if candidate.ok]
    assert (found.chosen is None) == (not good)
    if found.chosen is not None:
        assert found.chosen.offer == good[0].offer
        assert found.chosen.cost.total_nano == good[0].score == min(c.score or 0 for c in good)


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
    assert found.candidates[0].reasons[0] in found.summary


def test_every_filter_is_tested_above() -> None:
    assert [one.name for one in FILTERS] == [name for name, _, _ in REJECTED]


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
