"""docs/features.md stays true to the tests that carry its rows' markers."""

from __future__ import annotations

from tools import features


def test_the_test_column_is_what_the_markers_say() -> None:
    text = features.TABLE.read_text()
    assert features.updated(text) == text, "run: make features UPDATE=1"


def test_every_marker_names_a_row_that_exists() -> None:
    known = {row.id for row in features.rows()}
    unknown = set(features.marked_files()) - known
    assert not unknown


def test_a_row_that_works_has_tests_and_an_open_row_has_none() -> None:
    wrong = [row.id for row in features.rows() if row.state == "works" and not row.tests]
    early = [row.id for row in features.rows() if row.state == "open" and row.tests]
    assert (wrong, early) == ([], [])


def test_a_works_row_whose_tests_were_all_skipped_is_found() -> None:
    works = next((row.id for row in features.rows() if row.state == "works"), None)
    if works is not None:
        assert works in " ".join(features.unproven({works: {"tests/x.py::test_y": "skipped"}}))
