"""Segments: pieces of one residence meet end to start, sum to the whole, and have fixed keys."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from inference.meter import Outcome, Residence, Target, begin, cut_off
from kernel.wire.gateway import Segment, SegmentEnd, segment_key

TARGET = Target("acct_1", "key_1", "dep_1", "rep_1", "lease_1", 3, "m", "chat")


def residence(start_ns: int = 100, weight: int = 1) -> Residence:
    return begin(
        TARGET,
        "req_1",
        boot_id="boot_1",
        day="2026-01-01",
        attempt=1,
        start_ns=start_ns,
        weight=weight,
        slice_id="hold_1",
    )


def pieces(steps: list[tuple[int, int]], last: tuple[int, int]) -> list[Segment]:
    one, now, tokens, found = residence(), 100, 0, []
    for span, more in steps:
        now, tokens = now + span, tokens + more
        found.append(one.cut(now, "2026-01-02", tokens))
    outcome = Outcome(SegmentEnd.DONE, 200, 9, tokens + last[1])
    found.append(one.finish(now + last[0], outcome))
    return found


STEPS = st.lists(st.tuples(st.integers(0, 10**10), st.integers(0, 99)), max_size=8)


@given(STEPS, st.tuples(st.integers(0, 10**10), st.integers(0, 99)))
def test_pieces_cover_the_residence_and_sum_to_it(
    steps: list[tuple[int, int]], last: tuple[int, int]
) -> None:
    found = pieces(steps, last)
    assert found[0].start_ns == 100
    assert all(a.end_ns == b.start_ns for a, b in pairwise(found))
    assert found[-1].end_ns == 100 + sum(span for span, _ in [*steps, last])
    assert sum(one.completion_tokens for one in found) == sum(n for _, n in [*steps, last])
    assert sum(one.prompt_tokens for one in found) == 9
    assert [one.number for one in found] == list(range(len(found)))


@given(STEPS)
def test_keys_are_fixed_by_request_attempt_and_number(steps: list[tuple[int, int]]) -> None:
    for one in pieces(steps, (1, 1)):
        assert one.key == segment_key("req_1", 1, one.number)
        assert (one.lease_id, one.epoch, one.slice_id) == ("lease_1", 3, "hold_1")


def test_a_day_is_fixed_when_its_piece_opens() -> None:
    found = pieces([(5, 0)], (5, 0))
    assert [one.day for one in found] == ["2026-01-01", "2026-01-02"]


def test_time_never_goes_back() -> None:
    assert residence(100).finish(50, Outcome(SegmentEnd.DONE, 200)).end_ns == 100


def test_the_dead_gateways_open_piece_ends_where_it_was_last_seen_alive() -> None:
    opened = residence(100).segment
    cut = cut_off(opened, 170, piece_open=True)
    assert (cut.start_ns, cut.end_ns, cut.number, cut.end) == (100, 170, 0, SegmentEnd.CUT)
    assert cut_off(opened, 60, piece_open=True).end_ns == 100


def test_after_a_finished_piece_the_cut_is_the_next_one() -> None:
    done = residence(100).cut(150, "2026-01-01", 4)
    cut = cut_off(done, 170, piece_open=False)
    assert (cut.start_ns, cut.end_ns, cut.number) == (150, 170, 1)
    assert cut.completion_tokens == 0
