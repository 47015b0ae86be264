"""Cursors round-trip, and nothing else is taken for one."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.edge import PageQuery, decode_cursor, encode_cursor, page_of
from kernel.errors import BadInput

PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126))


@given(st.lists(PRINTABLE, min_size=1, max_size=4))
def test_a_cursor_comes_back_as_it_was(key: list[str]) -> None:
    assert decode_cursor(encode_cursor(*key)) == tuple(key)


@given(st.text(max_size=200))
def test_any_other_text_is_refused_or_holds_printable_text(text: str) -> None:
    with suppress(BadInput):
        assert all(part.isprintable() for part in decode_cursor(text))


@given(st.integers(0, 30), st.integers(1, 10))
def test_walking_the_pages_visits_every_row_once(total: int, limit: int) -> None:
    rows = [f"row{number:03}" for number in range(total)]
    seen: list[str] = []
    query = PageQuery(limit=limit, after=())
    while True:
        after = query.after_one() or ""
        found = [row for row in rows if row > after][: limit + 1]
        page = page_of(found, query, key=str, show=str)
        seen += page.items
        if page.next is None:
            break
        query = PageQuery(limit=limit, after=decode_cursor(page.next))
    assert seen == rows


def test_a_cursor_of_another_list_is_refused() -> None:
    with pytest.raises(BadInput, match="another list"):
        PageQuery(limit=1, after=("a", "b")).after_one()
