"""Pure: how much of a lease's output is shipped: so much a second, so much a day.

What is over it is dropped, and said once a flood. Times are of the wall clock, since a day is.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import Struct

from kernel.clock import NS

DAY_NS = 86_400 * NS


@dataclass(frozen=True)
class LogRate:
    """Bytes. A burst is what may come at once after a silence."""

    a_second: int = 256 * 1024
    burst: int = 16 << 20
    a_day: int = 256 << 20


class Allowance(Struct, frozen=True):
    """Where one lease stands. It is kept beside the lease's cursor, over restarts of the agent."""

    left: int = -1  # bytes that may be shipped at once; -1 = a full burst
    at_ns: int = 0
    day: int = 0
    day_bytes: int = 0
    flooding: bool = False  # lines were dropped, and this was said


def filled(was: Allowance, rate: LogRate, now_ns: int) -> Allowance:
    """With what time has added since; a clock that was set back adds nothing."""
    gained = max(now_ns - was.at_ns, 0) * rate.a_second // NS if was.at_ns else 0
    left = rate.burst if was.left < 0 else min(was.left + gained, rate.burst)
    day = now_ns // DAY_NS
    day_bytes = was.day_bytes if day == was.day else 0
    over = was.flooding and (left < rate.burst // 2 or day_bytes >= rate.a_day)
    return Allowance(left, now_ns, day, day_bytes, over)


def spent(was: Allowance, size: int) -> Allowance:
    """After ``size`` bytes were shipped."""
    return Allowance(was.left - size, was.at_ns, was.day, was.day_bytes + size, was.flooding)


def flooded(was: Allowance) -> Allowance:
    """After lines were dropped: nothing is shipped until it has been quieter for a while."""
    return Allowance(0, was.at_ns, was.day, was.day_bytes, flooding=True)


def room(allowance: Allowance, rate: LogRate) -> int:
    """How many bytes may be shipped now; none while a flood lasts."""
    if allowance.flooding:
        return 0
    return max(min(allowance.left, rate.a_day - allowance.day_bytes), 0)


def why(allowance: Allowance, rate: LogRate) -> str:
    """What is told in the place of the lines that are dropped."""
    if allowance.day_bytes >= rate.a_day:
        return f"Lines are dropped until tomorrow (UTC): more than {rate.a_day >> 20} MiB today."
    return f"Lines are dropped: more than {rate.a_second >> 10} KiB a second."
