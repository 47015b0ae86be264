"""Offers and requests for tests of the planner: by hand, and by hypothesis."""

from __future__ import annotations

from hypothesis import strategies as st

from brain.scheduling import Offer, PlanRequest, Prefer, Shape, Trust
from kernel.clock import NS
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


def cloud_offer(number: int = 1, gpus: int = 1, **changes: object) -> Offer:
    values = {"cloud": "c", "offer_key": f"k{number:04}", "free": gpus, "total": gpus}
    return offer(number, **{"node_id": None, "gpu_name": "NVIDIA L4", **values, **changes})


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
        withheld_until_ns=st.sampled_from([0, NOW - NS, NOW + NS]),
        failure_ppm=st.sampled_from([0, 50_000, 400_000]),
        seconds_max=st.sampled_from([None, None, 3600]),
        disk_gib_max=st.sampled_from([None, None, 50]),
        disk_gib_included=st.sampled_from([0, 40]),
        models=st.sampled_from([frozenset[str](), frozenset({"m"})]),
    ),
    max_size=40,
    unique_by=lambda made: made.key,
)
CLOUD_OFFERS = st.lists(
    st.builds(
        cloud_offer,
        number=st.integers(1, 1000),
        gpus=st.sampled_from([1, 2, 4, 8]),
        vram_mib=st.sampled_from([16_384, 24_576, 81_920]),
        price_nano=st.integers(0, 4) | st.integers(0, 3 * NANO),
        seen_ns=st.sampled_from([NOW, NOW - 300 * NS, NOW - 900 * NS]),
        region=st.sampled_from(["", "eu", "us"]),
        host=st.sampled_from(["", "h1", "h2"]),
        spot=st.booleans(),
        cold_start_seconds=st.integers(0, 600),
        failure_ppm=st.integers(0, 1_000_000),
        trust=st.sampled_from([Trust.COMMUNITY, Trust.VERIFIED]),
        models=st.sampled_from([frozenset[str](), frozenset({"m"})]),
    ),
    max_size=20,
    unique_by=lambda made: made.key,
)
# Few values each, so that scores are often the same: what breaks a tie is tried too.
ALIKE = st.lists(
    st.builds(
        offer,
        number=st.integers(1, 30),
        free=st.sampled_from([1, 2]),
        total=st.just(2),
        price_nano=st.sampled_from([0, 3600, 7200]),
        region=st.sampled_from(["eu", "us", "ap"]),
        cold_start_seconds=st.sampled_from([0, 1, 3600]),
        reliability_ppm=st.sampled_from([1_000_000, 500_000]),
        failure_ppm=st.sampled_from([0, 500_000]),
    ),
    max_size=12,
    unique_by=lambda made: made.node_id,
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
    only=st.sampled_from(["", "", node_id(1)]),
    only_why=st.just("It may stand nowhere else."),
    clouds=st.booleans(),
    reliability_ppm_min=st.sampled_from([0, 950_000]),
    trust_min=st.sampled_from(list(Trust)),
    seconds=st.integers(1, 86_400),
    storage_gib=st.integers(0, 100),
    prefer=st.sampled_from(list(Prefer)),
    beside=st.sampled_from([{}, {node_id(1): 2, "c/eu/h1": 1}]),
    model=st.sampled_from(["", "m"]),
    fetch_seconds=st.sampled_from([0, 300]),
    budget_nano=st.none() | st.integers(0, 100 * NANO),
)
