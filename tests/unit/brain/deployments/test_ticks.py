"""What each beat wakes: every kind at its pace, and the quick ones not all at once."""

from __future__ import annotations

from collections import Counter

from brain.deployments.tasks import CADENCE_SECONDS, SPREAD_SECONDS_MAX, due

HOUR = 3600


def test_each_kind_comes_at_its_pace() -> None:
    woken = Counter(kind for beat in range(1, HOUR + 1) for kind in due(beat))
    assert woken == {kind: HOUR // every for kind, every in CADENCE_SECONDS.items()}


def test_the_quick_kinds_are_spread_over_the_beats() -> None:
    quick = [kind for kind, every in CADENCE_SECONDS.items() if every <= SPREAD_SECONDS_MAX]
    most = max(len(set(due(beat)) & set(quick)) for beat in range(1, HOUR))
    assert most <= len(quick) * 2 / 3
