"""Pure: maintenance windows, what they close, and what they excuse."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from kernel.clock import NS
from kernel.errors import BadInput

AHEAD_SECONDS_MAX = 90 * 86_400
LENGTH_SECONDS_MAX = 7 * 86_400
OPEN_MAX = 20  # windows of one node that are not over


@dataclass(frozen=True)
class Window:
    """Times of the brain's clock. ``cancelled_ns`` None: it stands."""

    window_id: str
    from_ns: int
    until_ns: int
    notice_ns: int
    announced_ns: int
    reason: str = ""
    cancelled_ns: int | None = None

    @property
    def closes_ns(self) -> int:
        """From when on nothing new is placed: work would meet the window."""
        return max(self.announced_ns, self.from_ns - self.notice_ns)

    @property
    def late(self) -> bool:
        """Announced later than the notice asked for."""
        return self.announced_ns > self.from_ns - self.notice_ns

    def ended_ns(self) -> int:
        """When it is over: at its end, or when it was cancelled."""
        return self.until_ns if self.cancelled_ns is None else min(self.until_ns, self.cancelled_ns)


def check(from_ns: int, until_ns: int, now_ns: int) -> None:
    """``BadInput`` that says what is wrong with an announcement."""
    if from_ns < now_ns:
        raise BadInput("from must not lie in the past.", param="from")
    if until_ns <= from_ns:
        raise BadInput("until must come after from.", param="until")
    if from_ns > now_ns + AHEAD_SECONDS_MAX * NS:
        raise BadInput(
            f"from may lie {AHEAD_SECONDS_MAX // 86_400} days ahead at most.", param="from"
        )
    if until_ns - from_ns > LENGTH_SECONDS_MAX * NS:
        raise BadInput(
            f"A window lasts {LENGTH_SECONDS_MAX // 86_400} days at most; announce several.",
            param="until",
        )


@dataclass(frozen=True)
class Closed:
    """Nothing new is placed from ``from_ns`` until ``until_ns``."""

    from_ns: int
    until_ns: int


def closed(windows: Iterable[Window], now_ns: int) -> Closed | None:
    """What stands now, or comes next; windows that touch are one."""
    standing = sorted(
        (w.closes_ns, w.until_ns) for w in windows if w.cancelled_ns is None and w.until_ns > now_ns
    )
    if not standing:
        return None
    begin, end = standing[0]
    for from_ns, until_ns in standing[1:]:
        if from_ns > end:
            break
        end = max(end, until_ns)
    return Closed(begin, end)


def excused_seconds(windows: Sequence[Window], from_ns: int, until_ns: int) -> int:
    """How much of a time lies in windows that were announced in time; overlaps count once."""
    spans = sorted(
        (max(w.from_ns, from_ns), min(w.ended_ns(), until_ns)) for w in windows if not w.late
    )
    total, reached = 0, from_ns
    for begin, end in spans:
        fresh = end - max(begin, reached)
        if fresh > 0:
            total += fresh
            reached = end
    return total // NS


def excuses_loss(windows: Sequence[Window], last_ns: int, closed_ns: int) -> bool:
    """Whether a lease that was last renewed and then closed at these times met a window that
    was announced in time: it may end only when the window is over."""
    return any(not w.late and w.from_ns <= closed_ns and last_ns < w.ended_ns() for w in windows)


def shown(at_ns: int) -> str:
    """A time as people read it."""
    return f"{datetime.fromtimestamp(at_ns // NS, UTC):%Y-%m-%d %H:%M} UTC"
