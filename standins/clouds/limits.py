"""Rate limits of an emulated cloud: so many calls in each fixed window of time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kernel.clock import NS
from standins.clouds.refusals import Refused, Trouble

CALLERS_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Window:
    """``quota`` calls in ``seconds``. A least interval between calls is a quota of one."""

    name: str
    quota: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Left:
    """What is left of a window, and in how many seconds it begins anew."""

    window: Window
    calls: int
    reset_seconds: float


class Limits:
    """Windows open at a caller's first call and begin anew when they are over."""

    def __init__(self) -> None:
        self._open: dict[tuple[str, str], tuple[int, int]] = {}  # (caller, window): (began, used)

    def spend(self, caller: str, windows: Sequence[Window], now_ns: int) -> tuple[Left, ...]:
        """Count one call in every window, or refuse it and count it in none."""
        seen = [self._look(caller, window, now_ns) for window in windows]
        full = [left for left in seen if left.calls < 1]
        if full:
            worst = max(full, key=lambda left: left.reset_seconds)
            said = f"rate limit exceeded for the {worst.window.name} window"
            raise Refused(Trouble.THROTTLED, said, retry_after=worst.reset_seconds)
        if len(self._open) > CALLERS_MAX:
            self._open.clear()
        for window in windows:
            began, used = self._open.get((caller, window.name), (now_ns, 0))
            self._open[caller, window.name] = (began, used + 1)
        return tuple(Left(left.window, left.calls - 1, left.reset_seconds) for left in seen)

    def look(self, caller: str, windows: Sequence[Window], now_ns: int) -> tuple[Left, ...]:
        """What is left, counting nothing."""
        return tuple(self._look(caller, window, now_ns) for window in windows)

    def _look(self, caller: str, window: Window, now_ns: int) -> Left:
        began, used = self._open.get((caller, window.name), (now_ns, 0))
        end = began + round(window.seconds * NS)
        if now_ns >= end:
            self._open.pop((caller, window.name), None)
            used, end = 0, now_ns + round(window.seconds * NS)
        return Left(window, max(window.quota - used, 0), (end - now_ns) / NS)
