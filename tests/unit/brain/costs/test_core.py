"""Sums by the hour: rows grow by what the sum grew, whenever they are written."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from brain.costs.core import HOUR_NS, Known, Running, Stretch, agrees, parts, stretches
from kernel.clock import NS
from kernel.money import TICKS_PER_GPU_NS

BEGUN = 1_800_000_000 * NS
LEASE = Running("lease_1", "nodes", 2, 7_300_000_001, BEGUN, BEGUN, keeps=1500)


@given(st.lists(st.integers(1, 9000 * NS), max_size=12), st.none() | st.integers(0, 10**11))
def test_looks_at_any_times_sum_to_the_whole(steps: list[int], final: int | None) -> None:
    running, known, written = LEASE, None, 0
    for step in steps:
        running = replace(running, until_ns=running.until_ns + step)
        for one in stretches(running, known):
            written += one.nano
            known = Known(one.until_ns, written)
            assert one.hour_ns % HOUR_NS == 0
            assert one.hour_ns <= one.from_ns <= one.until_ns <= one.hour_ns + HOUR_NS
    ended = replace(running, final_nano=final)
    written += sum(one.nano for one in stretches(ended, known))
    assert written == (running.total(running.until_ns) if final is None else final)
    after = Known(ended.until_ns, written)
    assert list(stretches(ended, after)) == []


def test_a_source_that_never_ran_costs_nothing() -> None:
    assert list(stretches(LEASE, None)) == []


@given(
    st.integers(-(10**9), 10**12),
    st.integers(0, HOUR_NS),
    st.dictionaries(st.tuples(st.text("k", max_size=3), st.just("a")), st.integers(0, 10**19)),
)
def test_the_parts_of_a_stretch_sum_to_it(
    nano: int, span: int, used: dict[tuple[str, str], int]
) -> None:
    found = parts(Stretch(0, 0, span, nano), 2, used)
    assert sum(one.nano for one in found) == nano
    assert sum(one.gpu_ms for one in found) == span * 2 // 1_000_000
    assert found[-1].key_id == ""


def test_a_key_bears_its_share_and_idle_time_is_nobodys() -> None:
    half = HOUR_NS * TICKS_PER_GPU_NS  # of two GPUs for an hour
    mine, rest = parts(Stretch(0, 0, HOUR_NS, 1000), 2, {("key_1", "acct_1"): half})
    assert (mine.key_id, mine.nano, mine.gpu_ms) == ("key_1", 500, 3_600_000)
    assert (rest.key_id, rest.nano) == ("", 500)


def test_half_a_percent_or_a_cent_is_agreement() -> None:
    dollar = 10**9
    assert agrees(100 * dollar, 100 * dollar + dollar // 2)
    assert not agrees(100 * dollar, 100 * dollar + dollar // 2 + 1)
    assert agrees(1, 10_000_001)
    assert not agrees(1, 10_000_002)
