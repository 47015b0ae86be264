"""A state machine is a table; anything outside it is ``Conflict``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

from kernel.errors import Conflict

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True)
class Machine(Generic[S, E]):
    """``table[(state, event)]`` is the next state. States are members of one ``StrEnum``."""

    name: str
    start: S
    table: Mapping[tuple[S, E], S]

    def next(self, state: S, event: E) -> S:
        """The state after ``event``; ``Conflict`` when the table does not list the move."""
        after = self.table.get((state, event))
        if after is None:
            raise Conflict(f"A {self.name} that is {state.value} cannot {event.value}.")
        return after

    def can(self, state: S, event: E) -> bool:
        return (state, event) in self.table

    def reachable(self) -> frozenset[S]:
        """Every state that some sequence of events leads to, the start included."""
        seen = {self.start}
        frontier = [self.start]
        while frontier:
            here = frontier.pop()
            for (state, _), after in self.table.items():
                if state == here and after not in seen:
                    seen.add(after)
                    frontier.append(after)
        return frozenset(seen)

    def terminal(self) -> frozenset[S]:
        """States that no event leaves."""
        return self.reachable() - {state for state, _ in self.table}
