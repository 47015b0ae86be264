"""What a cloud tells is believed only where it can be true."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.offers.core import belief
from brain.offers.core.belief import NotBelieved, believe
from kernel.money import NANO
from tests.support.told import told

LIES = [
    {"price_nano": -1},
    {"price_nano": 0},
    {"price_nano": 10**18},
    {"gpu_name": ""},
    {"gpu_name": "\x1b[31mL4"},
    {"gpu_name": "x" * 1000},
    {"key": ""},
    {"key": "k" * 301},
    {"cloud": "another"},
    {"region": "\x00"},
    {"host": "h" * 1000},
    {"gpus": 0},
    {"gpus": 10_000},
    {"vram_mib": 0},
    {"vram_mib": 1 << 40},
    {"free": -1},
    {"reliability_ppm": 1_000_001},
    {"boot_seconds": -1},
    {"boot_seconds": 10**9},
    {"seconds_max": -1},
    {"disk_gib_included": -1},
    {"disk_gib_max": -1},
    {"storage_nano_gib_hour": -1},
    {"egress_nano_gib": 10**15},
]


@pytest.mark.feature("B6")
@pytest.mark.parametrize("lie", LIES, ids=str)
def test_a_lie_is_left_out_and_counted(lie: dict[str, object]) -> None:
    found = believe("first", [told("good"), told(**{"key": "bad", **lie})])  # type: ignore[arg-type]
    assert [offer.key for offer in found.offers] == ["good"]
    assert found.refused.startswith("1 of 2 offers were refused: ")


@pytest.mark.feature("B6")
def test_nothing_but_lies_changes_nothing() -> None:
    with pytest.raises(NotBelieved, match=r"2 of 2 offers were refused: a negative price \(2×\)"):
        believe("first", [told("a", price_nano=-1), told("b", price_nano=-2)])


@pytest.mark.feature("B6")
def test_an_empty_answer_is_an_answer() -> None:
    assert believe("first", []).offers == ()


@pytest.mark.feature("B6")
def test_too_many_are_refused_whole() -> None:
    most = [told(str(n)) for n in range(belief.OFFERS_MAX)]
    assert len(believe("first", most).offers) == belief.OFFERS_MAX
    with pytest.raises(NotBelieved, match="20,001 offers; 20,000 is the most"):
        believe("first", [*most, told("one more")])


@given(
    st.lists(
        st.builds(
            told,
            st.text(max_size=4),
            price_nano=st.integers(-NANO, 2000 * NANO),
            gpus=st.integers(-1, 70),
            gpu_name=st.text(max_size=5),
        ),
        max_size=20,
    )
)
def test_what_is_believed_can_be_kept(offers: list) -> None:  # type: ignore[type-arg]
    try:
        found = believe("first", offers).offers
    except NotBelieved:
        return
    assert len({offer.key for offer in found}) == len(found)
    assert all(offer.price_nano > 0 and offer.gpus > 0 and offer.gpu_name for offer in found)
