"""The telling of a demo: numbered steps with times for people, one record of facts for machines."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from kernel.clock import NS, Clock


class Story:
    """``facts`` is what ``--json`` prints at the end."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self._console = console
        self._clock = clock
        self._began = clock.monotonic_ns()
        self._steps = 0
        self.facts: dict[str, Any] = {"steps": []}

    @property
    def seconds(self) -> float:
        return (self._clock.monotonic_ns() - self._began) / NS

    def step(self, title: str) -> None:
        self._steps += 1
        self.facts["steps"].append({"at_seconds": round(self.seconds, 3), "title": title})
        self._console.print(
            f"\n[dim]{self.seconds:6.1f} s[/]  [bold cyan]{self._steps}. {escape(title)}[/]"
        )

    def tell(self, sentence: str) -> None:
        """What outside words may be in: nothing of it is taken for markup."""
        self._console.print(f"[dim]{self.seconds:6.1f} s[/]     {escape(sentence)}", soft_wrap=True)

    def mark(self, markup: str) -> None:
        self._console.print(f"[dim]{self.seconds:6.1f} s[/]     {markup}", soft_wrap=True)

    def table(self, columns: list[str], rows: list[list[str]]) -> None:
        found = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
        for column in columns:
            right = column.startswith(">")
            found.add_column(column.removeprefix(">"), justify="right" if right else "left")
        for row in rows:
            found.add_row(*[escape(cell) for cell in row])
        self._console.print(found)

    def keep(self, name: str, value: Any) -> None:
        self.facts[name] = value
