"""Secrets of a lease stand in no line that the agent ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernel.clock import ManualClock
from node_agent.engine import log_path
from node_agent.logs import LINE_CHARACTERS_MAX, LogShelf

CANARY = "canary-3e9a"


def shipped(home: Path, content: str) -> list[str]:
    """The lines of one batch, after the lease's secret was given."""
    shelf = LogShelf(home, ManualClock())
    shelf.hide("lease_1", [CANARY, "short"])
    shelf.hide("lease_1", ["registry-password"])
    path = log_path(home, "lease_1")
    path.parent.mkdir(parents=True)
    path.write_text(content)
    found = shelf.next_batch("lease_1", flush=True)
    assert found is not None
    return [line.text for line in found[0].lines]


@pytest.mark.feature("D5", "E1")
def test_what_was_given_is_not_shipped(tmp_path: Path) -> None:
    said = shipped(tmp_path, f"a {CANARY} b short\nlogin with registry-password\n")
    assert said == ["a *** b short", "login with ***"]


def test_a_word_at_the_cut_of_a_long_line_is_hidden_whole(tmp_path: Path) -> None:
    filler = "x" * (LINE_CHARACTERS_MAX - 4)
    [line] = shipped(tmp_path, f"{filler}{CANARY} and more")
    assert "can" not in line
