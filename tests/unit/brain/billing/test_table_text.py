"""A statement as CSV: exact, and harmless in a spreadsheet."""

from __future__ import annotations

import csv
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.billing.core import table_text


@pytest.mark.feature("G4")
@pytest.mark.parametrize(
    "cell",
    ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", " =1", "＝1", '"=1'],
)
def test_no_cell_begins_a_formula(cell: str) -> None:
    assert table_text.safe(cell) == "'" + cell


@pytest.mark.feature("G4")
@pytest.mark.parametrize("cell", ["-0.000000001", "12", "paid by card", "", "a=b"])
def test_numbers_and_words_stay_as_they_are(cell: str) -> None:
    assert table_text.safe(cell) == cell


@pytest.mark.feature("G4")
@given(st.lists(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0\r"))))
def test_what_is_written_is_read_again(cells: list[str]) -> None:
    read = next(csv.reader(StringIO(table_text.lines([["x", *cells]]), newline="")))
    assert read == ["x", *(table_text.safe(cell) for cell in cells)]


@pytest.mark.feature("G4")
@given(st.integers(-(10**18), 10**18))
def test_dollars_are_exact(nano: int) -> None:
    whole = table_text.decimal_dollars(nano)
    assert int(whole.replace(".", "")) == nano
