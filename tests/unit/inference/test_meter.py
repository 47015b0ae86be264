"""Segments: pieces of one residence meet end to start, sum to the whole, and have fixed keys."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inference.meter import UNPROVEN_NS, Residence, Target, cut_off
from inference.notes import Finished, Opened, Reader, open_note, piece_note, target_note
from kernel.wire.gateway import Segment, SegmentEnd, segment_key

REQUEST, HOLD = f"req_{7:032x}", f"hold_{9:032x}"
TARGET = Target(1, "acct_1", "key_1", "dep_1", "rep_1", "lease_1", 3, "m", "chat")


def residence(start_ns: int = 100, weight: int = 1) -> Residence:
    return Residence(
        TARGET,
        REQUEST,
        attempt=1,
        start_ns=start_ns,
        day=20260101,
        weight=weight,
        slice_id=HOLD,
    )


def noted(note: bytes) -> Segment:
    """What a note says, read as another process would."""
    reader = Reader("boot_1")
    reader.read(target_note(TARGET))
    found = reader.read(note)
    assert isinstance(found, Finished | Opened)
    return found.segment


def pieces(steps: list[tuple[int, int]], last: tuple[int, int]) -> list[Segment]:
    one, now, tokens, found = residence(), 100, 0, []
    for span, more in steps:
        now, tokens = now + span, tokens + more
        one.cut(now, tokens)
        found.append(noted(piece_note(one)))
        one.go_on(20260102)
    one.finish(now + last[0], SegmentEnd.DONE, 200, (9, tokens + last[1], False))
    found.append(noted(piece_note(one)))
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
        assert one.key == segment_key(REQUEST, 1, one.number)
        assert (one.request_id, one.attempt) == (REQUEST, 1)
        assert (one.lease_id, one.epoch, one.slice_id) == ("lease_1", 3, HOLD)
        assert (one.account_id, one.model, one.route) == ("acct_1", "m", "chat")


def test_a_day_is_fixed_when_its_piece_opens() -> None:
    found = pieces([(5, 0)], (5, 0))
    assert [one.day for one in found] == ["2026-01-01", "2026-01-02"]


def test_without_a_slice_there_is_none() -> None:
    one = residence()
    one.slice_id = None
    assert noted(open_note(one)).slice_id is None


def test_time_never_goes_back() -> None:
    one = residence(100)
    one.finish(50, SegmentEnd.DONE, 200, (0, 0, False))
    assert noted(piece_note(one)).end_ns == 100


@pytest.mark.parametrize("end", SegmentEnd)
def test_each_way_to_end_is_read_as_it_was_noted(end: SegmentEnd) -> None:
    one = residence(weight=1024)
    one.finish(2**62, end, 599, (2**40, 2**50, True))
    found = noted(piece_note(one))
    assert (found.end, found.status, found.weight) == (end, 599, 1024)
    assert (found.prompt_tokens, found.completion_tokens) == (2**40, 2**50)
    assert found.tokens_estimated


def test_the_dead_gateways_open_piece_ends_where_it_was_last_seen_alive() -> None:
    opened = noted(open_note(residence(100)))
    seen_ns = 100 + UNPROVEN_NS
    cut = cut_off(opened, seen_ns, piece_open=True)
    assert (cut.start_ns, cut.end_ns, cut.number, cut.end) == (100, seen_ns, 0, SegmentEnd.CUT)
    assert cut_off(opened, 60, piece_open=True).end_ns == 100


def test_a_request_of_a_moment_before_its_gateway_died_counts_no_time() -> None:
    """Its worker may have been dead: nobody is left who saw it begin."""
    opened = noted(open_note(residence(100)))
    assert cut_off(opened, 99 + UNPROVEN_NS, piece_open=True).end_ns == 100


def test_after_a_finished_piece_the_cut_is_the_next_one() -> None:
    one = residence(100)
    one.cut(150, 4)
    cut = cut_off(noted(piece_note(one)), 170, piece_open=False)
    assert (cut.start_ns, cut.end_ns, cut.number) == (150, 170, 1)
    assert cut.completion_tokens == 0
