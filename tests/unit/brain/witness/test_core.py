"""Who is right when two count: the lesser, beyond what honest counts may differ by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.witness.core import Counts, Kind, judge, tolerance
from kernel.clock import NS

HOUR = 3600 * NS


@pytest.mark.feature("G2")
def test_counts_that_agree_open_no_dispute() -> None:
    assert judge(Counts(gpus=1, billed=HOUR, capacity=HOUR, signed=HOUR)) is None
    assert judge(Counts(gpus=1, billed=HOUR, capacity=HOUR, signed=HOUR - 30 * NS)) is None


@pytest.mark.feature("G2")
def test_what_was_not_signed_for_is_not_paid() -> None:
    found = judge(Counts(gpus=2, billed=2 * HOUR, capacity=2 * HOUR, signed=HOUR))
    assert found is not None
    assert (found.kind, found.unproven) == (Kind.LESS, HOUR)
    assert "3600.0 GPU-seconds of 7200.0" in found.reason


def test_nothing_signed_is_nothing_paid() -> None:
    found = judge(Counts(gpus=1, billed=HOUR, capacity=HOUR, signed=0))
    assert found is not None
    assert found.unproven == HOUR


def test_a_node_that_claims_more_than_the_lease_lasted_gets_no_more() -> None:
    found = judge(Counts(gpus=1, billed=HOUR, capacity=HOUR, signed=2 * HOUR))
    assert found is not None
    assert (found.kind, found.unproven) == (Kind.MORE, 0)


def test_a_broken_chain_is_told_even_when_the_sum_is_right() -> None:
    found = judge(Counts(gpus=1, billed=HOUR, capacity=HOUR, signed=HOUR, broken="forked"))
    assert found is not None
    assert (found.kind, found.unproven) == (Kind.CHAIN, 0)


@given(
    st.integers(1, 8),
    st.integers(0, 10**16),
    st.integers(0, 10**16),
    st.sampled_from(["", "forked"]),
)
def test_the_nodes_word_only_lowers_a_bill(gpus: int, billed: int, signed: int, why: str) -> None:
    found = judge(Counts(gpus=gpus, billed=billed, capacity=billed, signed=signed, broken=why))
    paid = billed - (found.unproven if found is not None else 0)
    assert paid <= billed
    assert paid in (billed, signed)
    if signed + tolerance(gpus, billed) < billed:
        assert paid == signed
