"""What workers began, beside the books: each way in which they can differ is told."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.truth_books import Attempt, Begun, begun_in, compare

A, B = "req_" + "a" * 32, "req_" + "b" * 32
MARK = "c" * 32


def attempt(number: int = 0, **changes: object) -> Attempt:
    usual = {"pieces": 1, "last": 0, "ends": 1, "done": True, "charged": True, **changes}
    return Attempt(A, number, **usual)  # type: ignore[arg-type]


def laws(begun: int, whole: list[str], *attempts: Attempt) -> list[str]:
    """The laws that are broken."""
    found = compare(Begun(Counter({A: begun} if begun else {})), whole, attempts)
    return [name for name in ("lost", "doubled", "phantom") if getattr(found, name)]


@pytest.mark.feature("G5")
@pytest.mark.parametrize(
    ("begun", "whole", "attempts", "broken"),
    [
        (1, [A], [attempt()], []),
        (1, [A], [attempt(pieces=3, last=2)], []),
        (2, [A], [attempt(done=False, charged=False), attempt(1)], []),
        (0, [], [attempt(done=False, charged=False)], []),
        (1, [], [], ["lost"]),
        (2, [A], [attempt()], ["lost"]),
        (1, [A], [attempt(done=False)], ["lost"]),
        (1, [], [attempt(ends=0)], ["lost"]),
        (1, [A], [attempt(pieces=2, last=2)], ["lost"]),
        (1, [A], [attempt(pieces=2, last=0)], ["doubled"]),
        (1, [A], [attempt(pieces=2, last=1, ends=2)], ["doubled"]),
        (2, [A], [attempt(), attempt(1)], ["doubled"]),
        (0, [], [attempt(done=False)], ["phantom"]),
    ],
)
def test_what_is_wrong_is_told(
    begun: int, whole: list[str], attempts: list[Attempt], broken: list[str]
) -> None:
    assert laws(begun, whole, *attempts) == broken


@pytest.mark.feature("A13", "G5")
@pytest.mark.parametrize(
    ("ending", "ticks", "answered", "doubled"),
    [
        ("done", 1, {A}, True),
        ("cut", 1, {A}, True),
        ("failed", 1, {A}, False),  # it may be run again
        ("cut", 0, {A}, False),  # nobody saw that a worker began it
        ("failed", 1, {A, B}, True),
    ],
)
def test_of_two_requests_of_one_key_one_counts(
    ending: str, ticks: int, answered: set[str], doubled: bool, tmp_path: Path
) -> None:
    journal = tmp_path / "journal"
    journal.write_text(f"{B} {MARK}\n{A} {MARK}\nreq_other\n")
    tried = Attempt(B, 0, 1, 0, 1, ending == "done", charged=True, ticks=ticks, ending=ending)
    held = Attempt(A, 0, 1, 0, 1, done=True, charged=True, ticks=1, ending="done")
    found = compare(begun_in(journal), [A], [tried, held], {MARK: answered})
    assert bool(found.doubled) == doubled, found
    assert found.keyed == 1
