"""Up to when has every gateway told all it knows of a replica? Pure.

A *statement* is a usage batch that lists watermarks, or is empty (no segment, no closed boot). In a
statement sent at S, a listed replica is told up to its ``until``; a replica that is not listed has
nothing of this boot before S that was not shipped. A boot says nothing of time before its hello,
when it could not yet be given a replica. A closed boot (recovered, fully shipped) has told all. A
boot that was not heard for ``wait_ns`` of receiving time is counted out, as is any time that far
back: the brain's or the database's own absence (a gap) is not receiving time.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Receiving:
    """When the brain could receive and write: up to ``last_ns``, but for the gaps."""

    last_ns: int
    gaps: tuple[tuple[int, int], ...] = ()

    def since(self, from_ns: int) -> int:
        """Receiving time since ``from_ns``."""
        away = sum(
            max(0, min(until, self.last_ns) - max(start, from_ns)) for start, until in self.gaps
        )
        return max(0, self.last_ns - from_ns - away)

    def back(self, span_ns: int) -> int:
        """The latest moment since which ``span_ns`` of receiving time has gone by."""
        here = self.last_ns
        for start, until in sorted(self.gaps, reverse=True):
            if here - min(until, here) >= span_ns:
                break
            span_ns -= here - min(until, here)
            here = min(start, here)
        return here - span_ns


@dataclass(frozen=True)
class Boot:
    """A gateway boot's words on one replica. ``until_ns``/``listed_ns``: the last watermark and
    the statement that it stood in (None: never listed)."""

    hello_ns: int
    seen_ns: int
    stated_ns: int
    until_ns: int | None = None
    listed_ns: int | None = None
    closed: bool = False

    def told_until(self) -> int:
        if self.until_ns is not None and self.listed_ns == self.stated_ns:
            return max(self.hello_ns, self.until_ns)
        return max(self.hello_ns, self.stated_ns)


def closable_until(
    boots: Sequence[Boot], receiving: Receiving, *, now_ns: int, wait_ns: int
) -> int:
    """No more is expected before this moment: told by all, or waited for long enough."""
    waited = receiving.back(wait_ns)
    told = [
        boot.told_until()
        for boot in boots
        if not boot.closed and receiving.since(boot.seen_ns) < wait_ns
    ]
    return max(waited, min([now_ns, *told]))
