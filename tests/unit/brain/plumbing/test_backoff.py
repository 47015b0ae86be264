"""The outbox waits longer after each failure, and never longer than ten minutes."""

from __future__ import annotations

from brain.plumbing.outbox import backoff_seconds


def test_waits_double_up_to_ten_minutes() -> None:
    waits = [backoff_seconds(attempt) for attempt in range(1, 14)]
    assert waits[:6] == [1, 2, 4, 8, 16, 32]
    assert waits[-1] == backoff_seconds(10**6) == 600
