"""Fetching parts: what is asked is fetched once, and what cannot be had is told with its reason."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from tools import parts
from tools.part import CannotHave


class Fetcher(ModuleType):
    """A part that cannot be had as long as it has a reason."""

    reason = ""
    fetched = 0

    def is_ready(self) -> bool:
        return self.fetched > 0 and not self.reason

    def fetch(self, say: Callable[[str], None]) -> None:
        if self.reason:
            raise CannotHave(self.reason)
        self.fetched += 1
        say("unpacks")


@pytest.fixture
def light(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Fetcher:
    """Two known parts, one of them heavy, in an empty folder; the light one is returned."""
    for name in ("light_part", "heavy_part"):
        monkeypatch.setitem(sys.modules, name, Fetcher(name))
    known = (
        parts.Part("light", "light_part", "1 MB"),
        parts.Part("heavy", "heavy_part", "1 GB", heavy=True),
    )
    monkeypatch.setattr(parts, "PARTS", tmp_path)
    monkeypatch.setattr(parts, "MISSING", tmp_path / "missing.json")
    monkeypatch.setattr(parts, "PARTS_KNOWN", known)
    monkeypatch.delenv("REQUIRE_REAL_PARTS", raising=False)
    module = sys.modules["light_part"]
    assert isinstance(module, Fetcher)
    return module


def heavy() -> Fetcher:
    module = sys.modules["heavy_part"]
    assert isinstance(module, Fetcher)
    return module


def test_the_heavy_part_is_left_out_unless_asked(light: Fetcher) -> None:
    assert parts.main(["--for-tests"]) == 0
    assert (light.fetched, heavy().fetched) == (1, 0)
    assert "run `make parts`" in parts.why_missing("heavy")


def test_what_is_ready_is_not_fetched_again(light: Fetcher) -> None:
    assert [parts.main(["--for-tests", "--heavy"]) for _ in range(2)] == [0, 0]
    assert (light.fetched, heavy().fetched) == (1, 1)
    assert parts.why_missing("heavy") == ""


def test_a_part_that_cannot_be_had_is_remembered_with_its_reason(light: Fetcher) -> None:
    light.reason = "there is no apt-get here"
    assert parts.main(["--for-tests"]) == 0
    assert parts.why_missing("light") == "there is no apt-get here"


def test_a_reason_is_forgotten_once_the_part_is_there(light: Fetcher) -> None:
    light.reason = "no network"
    parts.main(["--for-tests"])
    light.reason = ""
    parts.main(["--for-tests"])
    assert json.loads(parts.MISSING.read_text()) == {}


def test_required_parts_include_the_heavy_one_and_must_be_had(
    light: Fetcher, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REQUIRE_REAL_PARTS", "1")
    heavy().reason = "no CPU build of torch"
    assert parts.main(["--for-tests"]) == 1
    assert light.fetched == 1


def test_asking_for_the_heavy_part_in_vain_is_a_failure(light: Fetcher) -> None:
    heavy().reason = "no CPU build of torch"
    assert parts.main(["--for-tests", "--heavy"]) == 1
    assert light.fetched == 1
