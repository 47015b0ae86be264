"""METERING laws 1 to 5 as properties, with an exact-fraction oracle beside the integers."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.gpu_time import Sharing, Span, share_window
from kernel.money import TICKS_PER_GPU_NS
from tests.support.cases import cases

pytestmark = pytest.mark.feature("G1")

gpu_counts = st.integers(1, 8)


@st.composite
def span_lists(draw: st.DrawFn, most: int = 8) -> list[Span]:
    count = draw(st.integers(0, most))
    spans = []
    for index in range(count):
        start = draw(st.integers(0, 10_000))
        end = start + draw(st.integers(1, 10_000))
        spans.append(Span(f"r{index}", start, end, draw(st.integers(1, 9))))
    return spans


def oracle(gpus: int, start: int, end: int, spans: list[Span]) -> tuple[dict[str, Fraction], int]:
    """Exact shares, by summing over every interval between two events."""
    clipped = [(s.key, max(s.start_ns, start), min(s.end_ns, end), s.weight) for s in spans]
    live = [c for c in clipped if c[2] > c[1]]
    edges = sorted({t for c in live for t in c[1:3]})
    shares = {c[0]: Fraction(0) for c in live}
    busy = 0
    for left, right in pairwise(edges):
        here = [c for c in live if c[1] <= left and c[2] >= right]
        total = sum(c[3] for c in here)
        if total:
            busy += gpus * (right - left)
        for key, _, _, weight in here:
            shares[key] += Fraction(weight * gpus * (right - left), total)
    return shares, busy


@st.composite
def histories(draw: st.DrawFn) -> list[tuple[int, str, str, int]]:
    """(step ns, verb, key, weight): any order of entering, leaving and cutting."""
    verbs = st.sampled_from(["enter", "leave", "cut", "wait"])
    keys = st.sampled_from("abcde")
    return draw(
        st.lists(st.tuples(st.integers(0, 5000), verbs, keys, st.integers(1, 9)), max_size=60)
    )


@given(gpus=gpu_counts, history=histories())
@settings(max_examples=cases(400), deadline=None)
def test_law_1_conservation_after_every_event(
    gpus: int, history: list[tuple[int, str, str, int]]
) -> None:
    sharing, now, taken = Sharing(gpus, 0), 0, 0
    for step, verb, key, weight in history:
        now += step
        if verb == "enter":
            sharing.enter(key, now, weight)
        elif verb == "leave":
            taken += sharing.leave(key, now)
        elif verb == "cut" and key in sharing.residents:
            taken += sharing.cut(key, now)
        else:
            sharing.advance(now)
        parts = sharing.settled + sharing.open_ticks() + sharing.remainder + sharing.rounding
        assert parts == sharing.busy
        assert taken == sharing.settled


@given(gpus=gpu_counts, spans=span_lists())
@settings(max_examples=cases(400), deadline=None)
def test_law_2_and_3_closed_and_never_dearer_than_alone(gpus: int, spans: list[Span]) -> None:
    shares = share_window(gpus, 0, 30_000, spans)
    assert sum(shares.by_key.values()) + shares.rounding == shares.busy
    assert shares.busy <= gpus * 30_000 * TICKS_PER_GPU_NS
    for span in spans:
        alone = gpus * (span.end_ns - span.start_ns) * TICKS_PER_GPU_NS
        assert 0 <= shares.by_key[span.key] <= alone


@given(gpus=gpu_counts, spans=span_lists(), start=st.integers(0, 5000))
@settings(max_examples=cases(400), deadline=None)
def test_shares_follow_the_exact_oracle_within_the_rounding(
    gpus: int, spans: list[Span], start: int
) -> None:
    end = start + 9000
    exact, busy = oracle(gpus, start, end, spans)
    shares = share_window(gpus, start, end, spans)
    assert shares.busy == busy * TICKS_PER_GPU_NS
    assert set(shares.by_key) == set(exact)
    events = 2 * len(spans)
    for span in spans:
        if span.key in exact:
            off = exact[span.key] * TICKS_PER_GPU_NS - shares.by_key[span.key]
            assert 0 <= off <= span.weight * events


@given(gpus=gpu_counts, spans=span_lists(), weight=st.integers(1, 9))
@settings(max_examples=cases(300), deadline=None)
def test_law_4_equals_are_equal_and_one_more_tenant_never_raises_a_bill(
    gpus: int, spans: list[Span], weight: int
) -> None:
    twin_a, twin_b = Span("twin-a", 100, 7000, weight), Span("twin-b", 100, 7000, weight)
    before = share_window(gpus, 0, 30_000, [*spans, twin_a])
    after = share_window(gpus, 0, 30_000, [*spans, twin_a, twin_b])
    assert after.by_key["twin-a"] == after.by_key["twin-b"]
    slack = 2 * (len(spans) + 2)
    for span in [*spans, twin_a]:
        assert after.by_key[span.key] <= before.by_key[span.key] + span.weight * slack


@given(gpus=gpu_counts, spans=span_lists(), seed=st.randoms(use_true_random=False))
@settings(max_examples=cases(300), deadline=None)
def test_law_5_order_and_duplicates_change_nothing(gpus: int, spans: list[Span], seed) -> None:  # type: ignore[no-untyped-def]
    shuffled = [*spans, *spans]
    seed.shuffle(shuffled)
    assert share_window(gpus, 0, 30_000, shuffled) == share_window(gpus, 0, 30_000, spans)


@given(gpus=gpu_counts, spans=span_lists(), cut=st.integers(1, 29_999))
@settings(max_examples=cases(300), deadline=None)
def test_law_6_a_split_sums_to_the_whole(gpus: int, spans: list[Span], cut: int) -> None:
    whole = share_window(gpus, 0, 30_000, spans)
    left = share_window(gpus, 0, cut, spans)
    right = share_window(gpus, cut, 30_000, spans)
    assert left.busy + right.busy == whole.busy
    for span in spans:
        parts = left.by_key.get(span.key, 0) + right.by_key.get(span.key, 0)
        assert abs(whole.by_key[span.key] - parts) <= span.weight * (2 * len(spans) + 2)


def test_a_lone_request_gets_all_the_time_of_all_gpus() -> None:
    shares = share_window(4, 0, 1000, [Span("only", 100, 600)])
    assert shares.by_key == {"only": 4 * 500 * TICKS_PER_GPU_NS}
    assert shares.rounding == 0


def test_a_third_of_a_gpu_is_rounded_once_and_the_rest_is_kept() -> None:
    spans = [Span(key, 0, 1) for key in "abc"]
    shares = share_window(1, 0, 1, spans)
    assert set(shares.by_key.values()) == {TICKS_PER_GPU_NS // 3}
    assert shares.rounding == TICKS_PER_GPU_NS - 3 * (TICKS_PER_GPU_NS // 3)


def test_time_that_goes_back_counts_as_now() -> None:
    sharing = Sharing(1, now_ns=100)
    sharing.enter("a", 100)
    sharing.advance(50)
    assert (sharing.now_ns, sharing.busy) == (100, 0)


def test_leaving_twice_gives_nothing_more() -> None:
    sharing = Sharing(1, now_ns=0)
    sharing.enter("a", 0)
    assert sharing.leave("a", 10) == 10 * TICKS_PER_GPU_NS
    assert sharing.leave("a", 20) == 0
