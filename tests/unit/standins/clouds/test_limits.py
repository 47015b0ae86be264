"""Rate limits: fixed windows for each caller, all or none counted."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import NS
from standins.clouds.limits import Limits, Window
from standins.clouds.refusals import Refused

SHORT, LONG = Window("minute", 3, 60), Window("hour", 5, 3600)


def spend(limits: Limits, now_s: float, caller: str = "a") -> list[int] | float | None:
    try:
        left = limits.spend(caller, (SHORT, LONG), round(now_s * NS))
    except Refused as refused:
        return refused.retry_after
    return [one.calls for one in left]


def test_a_full_window_refuses_with_the_time_to_wait() -> None:
    limits = Limits()
    assert [spend(limits, second) for second in range(3)] == [[2, 4], [1, 3], [0, 2]]
    assert spend(limits, 20) == 40
    assert spend(limits, 60) == [2, 1]
    assert spend(limits, 61) == [1, 0]
    assert spend(limits, 62) == 3600 - 62


def test_callers_have_windows_of_their_own() -> None:
    limits = Limits()
    assert [spend(limits, 0) for _ in range(4)][-1] == 60
    assert spend(limits, 0, "b") == [2, 4]


@given(st.lists(st.floats(0, 30), max_size=60))
def test_no_window_lets_more_through_than_its_quota(gaps: list[float]) -> None:
    limits, now, began, used = Limits(), 0, 0, 0
    for gap in gaps:
        now += round(gap * NS)
        if used == 0 or now >= began + 60 * NS:
            began, used = now, 0  # a window opens at its first call
        if used < SHORT.quota:
            limits.spend("a", [SHORT], now)
            used += 1
            continue
        with pytest.raises(Refused) as refused:
            limits.spend("a", [SHORT], now)
        assert refused.value.retry_after == (began + 60 * NS - now) / NS
