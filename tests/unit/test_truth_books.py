"""What workers began, beside the books: each way in which they can differ is told."""

from __future__ import annotations

from collections import Counter

import pytest

from bench.truth_books import Attempt, compare

A = "req_" + "a" * 32


def attempt(number: int = 0, **changes: object) -> Attempt:
    usual = {"pieces": 1, "last": 0, "ends": 1, "done": True, "charged": True, **changes}
    return Attempt(A, number, **usual)  # type: ignore[arg-type]


def laws(begun: int, whole: list[str], *attempts: Attempt) -> list[str]:
    """The laws that are broken."""
    found = compare(Counter({A: begun} if begun else {}), whole, attempts)
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
