"""What a person sees while the product starts, runs and stops."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

from kernel.clock import NS, Clock


class Display:
    """Lines with the seconds each step took; a spinner on a terminal."""

    def __init__(self, console: Console, clock: Clock) -> None:
        self.console = console
        self._clock = clock
        self._began = clock.monotonic_ns()
        self._waiting: list[str] = []
        self._status = console.status("starting") if console.is_terminal else None

    @contextmanager
    def step(self, name: str, note: str = "") -> Iterator[None]:
        """Say when it is done and how long it took; nothing when it failed."""
        began = self._clock.monotonic_ns()
        self._waiting.append(name)
        self._spin()
        try:
            yield
            took = (self._clock.monotonic_ns() - began) / NS
            shown = f"  [dim]{escape(note)}[/]" if note else ""
            self.console.print(f"[green]✓[/] {escape(name):<28} [dim]{took:5.2f} s[/]{shown}")
        finally:
            self._waiting.remove(name)
            self._spin()

    def warn(self, sentence: str) -> None:
        self.console.print(f"[yellow]![/] {escape(sentence)}")

    def say(self, markup: str = "") -> None:
        self.console.print(markup, soft_wrap=True)

    def quiet(self) -> None:
        """End the spinner."""
        if self._status is not None:
            self._status.stop()

    @property
    def seconds(self) -> float:
        """Since this display began."""
        return (self._clock.monotonic_ns() - self._began) / NS

    def _spin(self) -> None:
        if self._status is None:
            return
        if self._waiting:
            self._status.update("waiting for " + ", ".join(self._waiting))
            self._status.start()
        else:
            self._status.stop()
