"""Call budgets: never more than a limit allows, and a wait that is bounded."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.adapters.clouds.buckets import Bucket, take
from brain.clouds import Throttled
from kernel.clock import NS, ManualClock


@given(
    calls=st.integers(1, 50),
    seconds=st.integers(1, 120),
    burst=st.integers(1, 50),
    waits=st.lists(st.integers(0, 5 * NS), min_size=1, max_size=200),
)
def test_no_span_of_time_holds_more_than_the_limit(
    calls: int, seconds: int, burst: int, waits: list[int]
) -> None:
    clock = ManualClock()
    bucket = Bucket(clock, calls=calls, seconds=seconds, burst=min(burst, calls))
    passed: list[int] = []
    for wait in waits:
        clock.advance(ns=wait)
        clock.advance(ns=bucket.wait_ns())
        bucket.spend()
        passed.append(clock.monotonic_ns())
    most = calls + min(burst, calls)
    assert all(sum(begin <= at < begin + seconds * NS for at in passed) <= most for begin in passed)


async def test_callers_wait_their_turn_in_order() -> None:
    clock = ManualClock()
    bucket = Bucket(clock, calls=1, seconds=1)
    done: list[int] = []

    async def call(number: int) -> None:
        await take([bucket], clock, cloud="Cloudy", wait_seconds_max=60)
        done.append(number)

    tasks = [asyncio.create_task(call(number)) for number in range(3)]
    for _ in range(3):
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        clock.advance(1)
    await asyncio.gather(*tasks)
    assert done == [0, 1, 2]


async def test_too_long_a_wait_is_refused_at_once_and_costs_nothing() -> None:
    clock = ManualClock()
    bucket = Bucket(clock, calls=1, seconds=60)
    await take([bucket], clock, cloud="Cloudy", wait_seconds_max=1)
    for _ in range(3):
        with pytest.raises(Throttled) as caught:
            await take([bucket], clock, cloud="Cloudy", wait_seconds_max=1)
        assert caught.value.retry_after == 60


def test_a_cloud_that_asks_for_time_gets_it() -> None:
    clock = ManualClock()
    bucket = Bucket(clock, calls=60, seconds=60, burst=20)
    bucket.close_for(30)
    assert bucket.wait_ns() == 30 * NS
    clock.advance(30)
    assert bucket.wait_ns() == 0
