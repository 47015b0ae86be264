"""Cents that sum, taxes that come back, months that follow each other."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.invoices import core
from brain.invoices.core import CENT_NANO, LineKind, Use

NANO = st.integers(-(10**15), 10**15)


@pytest.mark.feature("H5")
@given(st.lists(NANO, max_size=40))
def test_dealt_cents_sum_to_the_rounded_sum(amounts: list[int]) -> None:
    parts = core.deal(amounts)
    assert sum(parts) == core.cents(sum(amounts))
    for nano, cents in zip(amounts, parts, strict=True):
        assert abs(cents * CENT_NANO - nano) < CENT_NANO


@pytest.mark.feature("H5")
@given(st.lists(st.integers(1, 10**9), min_size=1, max_size=6), st.integers(0, 10_000))
def test_notes_over_an_invoice_give_back_its_whole_tax(parts: list[int], basis: int) -> None:
    net, net_back, tax_back = sum(parts), 0, 0
    for part in parts:
        assert core.credit_cents(part, net_cents=net, credited_cents=net_back) == part
        tax = core.tax_of(net_back + part, basis) - tax_back
        net_back, tax_back = net_back + part, tax_back + tax
        assert tax >= 0
    assert (net_back, tax_back) == (net, core.tax_of(net, basis))


@pytest.mark.feature("H5")
def test_a_tie_goes_to_the_earlier_line() -> None:
    assert core.deal([CENT_NANO // 2, CENT_NANO // 2]) == [1, 0]
    assert core.deal([-CENT_NANO // 2, CENT_NANO // 2]) == [0, 0]


@pytest.mark.feature("H5")
def test_use_of_one_subject_is_one_line() -> None:
    uses = [
        Use(LineKind.SHARED, "m", 30, gpu_ns=core.HOUR_NS, from_ns=5, until_ns=9),
        Use(LineKind.SHARED, "m", 12, gpu_ns=core.HOUR_NS // 2, from_ns=1, until_ns=3),
        Use(LineKind.POD, "p", 0),
    ]
    (line,) = core.lines_of(uses, {"m": "Qwen/Qwen3-8B"})
    assert (line.title, line.quantity) == ("Shared use of Qwen/Qwen3-8B", "1.500000 GPU-h")
    assert (line.from_ns, line.until_ns, line.nano) == (1, 9, 42)


@pytest.mark.feature("H5")
@given(st.dates(date(2020, 1, 1), date(2090, 1, 1)))
def test_the_month_before_ends_where_this_one_begins(now: date) -> None:
    first, until = core.month_before(datetime(now.year, now.month, now.day, 7, tzinfo=UTC))
    assert until == core.month_of(date(now.year, now.month, 1))[0]
    assert core.month_of(first.date()) == (first, until)


@pytest.mark.parametrize(("cents", "text"), [(0, "$0.00"), (-5, "-$0.05"), (123_456, "$1,234.56")])
def test_cents_are_shown_as_dollars(cents: int, text: str) -> None:
    assert core.usd(cents) == text
