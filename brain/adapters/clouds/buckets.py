"""Call budgets: a documented limit of a cloud as a bucket; who comes too early waits, bounded."""

from __future__ import annotations

from collections.abc import Sequence

from brain.clouds import Throttled
from kernel.clock import NS, Clock


class Bucket:
    """At most ``calls`` in ``seconds``, evenly spread after a first ``burst``.

    It is kept as the time at which the next call would be due if all were evenly spread, which is
    exact in integers and needs no timer. One event loop.
    """

    def __init__(self, clock: Clock, *, calls: int, seconds: int, burst: int = 1) -> None:
        assert calls > 0, "a bucket lets something through"
        assert seconds > 0, "a bucket is over a time"
        assert 0 < burst <= calls, "a burst is within the limit"
        self._clock = clock
        self._step_ns = -(-seconds * NS // calls)
        self._slack_ns = (burst - 1) * self._step_ns
        self._due_ns = clock.monotonic_ns()

    def wait_ns(self) -> int:
        """How long a call would wait that came now."""
        return max(0, self._due_ns - self._slack_ns - self._clock.monotonic_ns())

    def spend(self) -> None:
        """Count one call, at its turn."""
        self._due_ns = max(self._due_ns, self._clock.monotonic_ns()) + self._step_ns

    def close_for(self, seconds: float) -> None:
        """The cloud said to wait: nothing passes before that time is over."""
        until = self._clock.monotonic_ns() + round(seconds * NS)
        self._due_ns = max(self._due_ns, until + self._slack_ns)


async def take(
    buckets: Sequence[Bucket], clock: Clock, *, cloud: str, wait_seconds_max: float
) -> None:
    """Wait for a turn in every bucket, or raise ``Throttled`` at once if that would be too long."""
    wait_ns = max((bucket.wait_ns() for bucket in buckets), default=0)
    if wait_ns > round(wait_seconds_max * NS):
        raise Throttled(
            f"The call budget of {cloud} is spent for {wait_ns / NS:.0f} s; nothing was sent.",
            retry_after=wait_ns / NS,
        )
    for bucket in buckets:
        bucket.spend()
    if wait_ns:
        await clock.sleep(wait_ns / NS)
