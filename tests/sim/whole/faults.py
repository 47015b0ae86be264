"""What goes wrong, and how often. Every fault is counted; all can be switched off at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from random import Random

# Chances of each fault at each place where it can happen. A seed scales them all by its own mood.
RATES: Mapping[str, float] = {
    "death_at_mark": 0.004,
    "death_before_a_commit": 0.0015,
    "death_after_a_commit": 0.0015,
    "database_cut_before": 0.001,
    "database_cut_after": 0.001,
    "beat_lost": 0.06,
    "answer_lost": 0.06,
    "answer_late": 0.05,
    "beat_doubled": 0.05,
    "beat_late": 0.04,
    "hint_lost": 0.3,
    "death_before_a_call": 0.002,
    "death_after_a_call": 0.005,
    "call_throttled": 0.05,
    "call_tells_when": 0.5,
    "call_broken": 0.02,
    "call_timed_out": 0.02,
    "call_done_answer_lost": 0.02,
    "call_done_then_broken": 0.02,
    "call_slow": 0.05,
    "worker_crash": 0.01,
    "start_refused": 0.01,
}


class Faults:
    """Chance, by name. ``on`` False: peace."""

    def __init__(self, chance: Random, rates: Mapping[str, float] = RATES) -> None:
        self._chance = chance
        self.rates = dict(rates)
        self.on = True
        self.counts: Counter[str] = Counter()
        self.stalled_until_ns = 0
        self.errors: list[BaseException] = []

    def strikes(self, name: str) -> bool:
        if not self.on or self._chance.random() >= self.rates[name]:
            return False
        self.counts[name] += 1
        return True

    def happens(self, name: str) -> None:
        """One that somebody else decided on."""
        self.counts[name] += 1

    def stalled(self, now_ns: int) -> bool:
        """Does the database stand still now?"""
        return now_ns < self.stalled_until_ns

    def tell(self, error: BaseException) -> None:
        """An error that left a piece of work. What it was is judged by a law."""
        self.errors.append(error)

    @property
    def count(self) -> int:
        return sum(self.counts.values())
