"""docs/features.md stays true to the tests that carry its rows' markers."""

from __future__ import annotations

import ast

from tests.support.features import FULL
from tests.support.shared import ROOT
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
    works = next(row.id for row in features.rows() if row.state == "works")
    skipped = {works: {"tests/x.py::test_y": "skipped"}}
    assert works in said(skipped, may_skip=False)
    assert works not in said(skipped, may_skip=True)
    assert works in said({}, may_skip=True)
    assert works in said({works: {"x": "passed", "y": "failed"}}, may_skip=True)
    assert works not in said({works: {"x": "passed", "y": "skipped"}}, may_skip=False)


def said(results: dict[str, dict[str, str]], *, may_skip: bool) -> list[str]:
    """The rows that are named."""
    return [line.split(":")[0] for line in features.unproven(results, may_skip=may_skip)]


def test_what_counts_as_a_full_run_is_what_make_test_runs() -> None:
    assert f'-m "{FULL}" $(ARGS)' in (ROOT / "Makefile").read_text()


def test_a_marker_of_several_rows_stands_for_each() -> None:
    tree = ast.parse('@pytest.mark.feature("A1", "G3")\ndef test_x(): ...')
    assert features._marked(tree) == {"A1", "G3"}
