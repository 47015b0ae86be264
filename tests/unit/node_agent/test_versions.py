"""Versions on a host: a wish, a trial, its end; after a death at any step the same end."""

from __future__ import annotations

from pathlib import Path

import pytest

from node_agent.versions import Root, Trial, accept, give_back, settle, write

pytestmark = pytest.mark.feature("C8")
OLD, NEW, LATER = "a" * 64, "b" * 64, "c" * 64


def root_with(folder: Path, *versions: str, current: str = OLD) -> Root:
    for version in versions:
        (folder / "versions" / version / "lib").mkdir(parents=True)
    root = Root(folder)
    root.switch(current)
    return root


def test_a_version_that_is_laid_ready_is_taken_up_on_trial(tmp_path: Path) -> None:
    root = root_with(tmp_path, OLD, NEW)
    write(tmp_path / "next", NEW)
    settle(root)
    assert (root.current(), root.trial(), root.asked()) == (NEW, Trial(NEW, OLD), "")
    settle(root)
    assert (root.current(), root.trial()) == (NEW, Trial(NEW, OLD))


@pytest.mark.parametrize("done", ["trial", "trial and switch"])
def test_a_switch_that_a_death_broke_off_is_done_again(tmp_path: Path, done: str) -> None:
    root = root_with(tmp_path, OLD, NEW)
    write(tmp_path / "next", NEW)
    root.save_trial(Trial(NEW, OLD))
    if "switch" in done:
        root.switch(NEW)
    settle(root)
    assert (root.current(), root.trial(), root.asked()) == (NEW, Trial(NEW, OLD), "")


@pytest.mark.parametrize("steps", [0, 1])
def test_a_taking_back_that_a_death_broke_off_is_done_again(tmp_path: Path, steps: int) -> None:
    root = root_with(tmp_path, OLD, NEW, current=NEW)
    root.save_trial(Trial(NEW, OLD, starts=3))
    root.save("bad.json", {NEW: "why"})
    if steps:
        root.switch(OLD)
    settle(root)
    assert (root.current(), root.trial(), root.bad()) == (OLD, None, {NEW: "why"})


def test_a_bad_version_is_not_taken_up_again(tmp_path: Path) -> None:
    root = root_with(tmp_path, OLD, NEW)
    give_back(root, Trial(NEW, OLD), "it ended")
    write(tmp_path / "next", NEW)
    settle(root)
    assert (root.current(), root.trial(), root.asked()) == (OLD, None, "")


def test_one_that_is_not_there_is_not_switched_to(tmp_path: Path) -> None:
    root = root_with(tmp_path, OLD)
    write(tmp_path / "next", NEW)
    settle(root)
    assert (root.current(), root.asked()) == (OLD, "")


def test_a_third_version_during_a_trial_goes_back_to_the_first(tmp_path: Path) -> None:
    root = root_with(tmp_path, OLD, NEW, LATER, current=NEW)
    root.save_trial(Trial(NEW, OLD, starts=1))
    write(tmp_path / "next", LATER)
    settle(root)
    assert (root.current(), root.trial()) == (LATER, Trial(LATER, OLD))


def test_only_the_version_and_the_one_before_stay(tmp_path: Path) -> None:
    root = root_with(tmp_path, OLD, NEW, LATER, current=LATER)
    accept(root, Trial(LATER, NEW))
    assert {path.name for path in (tmp_path / "versions").iterdir()} == {NEW, LATER}
    assert root.trial() is None


def test_a_damaged_file_is_none_at_all(tmp_path: Path) -> None:
    root = root_with(tmp_path, OLD)
    for name in ("trial.json", "bad.json"):
        (tmp_path / name).write_text("{")
    settle(root)
    assert (root.current(), root.trial(), root.bad()) == (OLD, None, {})
