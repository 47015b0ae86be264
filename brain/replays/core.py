"""What a second request with a key is told. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from kernel.clock import NS
from kernel.wire.replays import Said

SILENT_NS = 15 * NS  # a gateway that has not been heard for so long is taken for dead
# A claim of a gateway that lives is believed for the longest that a request may take there
# (GATEWAY_TOTAL_SECONDS_MAX is an hour), and some.
RUNS_NS = 2 * 3600 * NS


@dataclass(frozen=True)
class Earlier:
    """The row that a claim met. ``kept``: its answer is there."""

    same_input: bool
    same_request: bool
    claimed_ns: int
    settled: bool
    kept: bool
    expires_ns: int


@dataclass(frozen=True)
class Owner:
    """The gateway that had it. ``closed``: it ended, and all that it counted is on the books."""

    seen_ns: int
    closed: bool
    began: bool  # a worker began the request, as far as the books know


def judge(earlier: Earlier, owner: Owner, now_ns: int) -> Said:
    """``RUN`` takes the row over. A request that a worker may have begun is never run again."""
    if earlier.expires_ns <= now_ns:
        return Said.RUN
    if not earlier.same_input:
        return Said.OTHER_INPUT
    if earlier.settled:
        return Said.REPLAY if earlier.kept else Said.GONE
    if earlier.same_request:
        return Said.RUN  # its first answer was lost on the way
    if owner.began and owner.closed:
        return Said.GONE
    if owner.closed:
        return Said.RUN
    late = now_ns - earlier.claimed_ns > RUNS_NS or now_ns - owner.seen_ns > SILENT_NS
    return Said.UNKNOWN if late else Said.RUNNING
