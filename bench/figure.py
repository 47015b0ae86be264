"""One measured figure, as ``make bench`` prints it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """``value`` None: it could not be had, and ``reason`` says why."""

    name: str
    value: float | None
    unit: str
    reason: str = ""

    def line(self) -> str:
        if self.value is None:
            return f"{self.name} n/a {self.reason}"
        return f"{self.name} {self.value:.6g} {self.unit}"
