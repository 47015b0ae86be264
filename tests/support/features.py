"""Records which product rows each test proved, and keeps docs/features.md true on full runs."""

from __future__ import annotations

import json
import os
from collections import defaultdict

import pytest

from tools import features
from tools.parts import is_required

FULL = "not long"  # what `make test` runs
_outcomes: dict[str, dict[str, str]] = defaultdict(dict)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for mark in item.iter_markers("feature"):
            item.user_properties.extend(("feature", row) for row in mark.args)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    worse = report.failed or report.skipped
    if report.when != "call" and not worse:
        return
    for name, row in report.user_properties:
        if name == "feature" and isinstance(row, str):
            before = _outcomes[row].get(report.nodeid)
            _outcomes[row][report.nodeid] = "failed" if before == "failed" else report.outcome


def _is_full(config: pytest.Config) -> bool:
    option = config.option
    chosen = option.keyword, option.markexpr, option.collectonly, option.maxfail
    return chosen == ("", FULL, False, 0) and config.args == config.getini("testpaths")


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workerinput") or not _outcomes:
        return
    before = {} if _is_full(session.config) else features.last_results()
    merged = {row: {**before.get(row, {}), **ran} for row, ran in _outcomes.items()}
    features.RESULTS.parent.mkdir(exist_ok=True)
    fresh = features.RESULTS.with_suffix(f".{os.getpid()}")  # another run may read it now
    fresh.write_text(json.dumps({**before, **merged}, indent=1))
    fresh.rename(features.RESULTS)
    if _is_full(session.config) and (
        bad := features.unproven(_outcomes, may_skip=not is_required())
    ):
        print("\ndocs/features.md says these rows work, but no test of theirs passed:", *bad)
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
