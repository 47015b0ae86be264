"""A proof: a law of the books, how many things were looked at, and how many break it. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Proof:
    """``broken`` of ``count`` do not hold; any is an alarm."""

    name: str
    law: str
    count: int
    broken: int

    @property
    def holds(self) -> bool:
        return self.broken == 0
