"""METERING laws 1 to 6 as properties, with an exact-fraction oracle beside the integers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
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
# Any time, and times at which others often begin and end too.
times = st.integers(0, 10_000) | st.integers(0, 10).map(lambda n: n * 1000)
LAW = settings(max_examples=cases(4000, part=60), deadline=None)


@st.composite
def span_lists(draw: st.DrawFn, most: int = 8) -> list[Span]:
    count = draw(st.integers(0, most))
    spans = []
    for index in range(count):
        start = draw(times)
        end = start + max(1, draw(times))
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
    verbs = st.sampled_from(["enter", "enter", "enter", "leave", "cut", "wait"])
    keys, steps = st.sampled_from("abcde"), st.integers(0, 5000)
    events = st.tuples(steps, verbs, keys, st.integers(1, 9))
    return draw(st.lists(events, min_size=5, max_size=60))


@dataclass
class Log:
    """What a history did, kept apart from what is tested: stays, and the time with anyone in."""

    now: int = 0
    occupied: int = 0
    inside: dict[str, Span] = field(default_factory=dict)  # their ends are not known yet
    stays: list[Span] = field(default_factory=list)
    taken: dict[str, int] = field(default_factory=dict)  # ticks by stay

    def take(self, stay: Span, ticks: int) -> None:
        self.taken[stay.key] = self.taken.get(stay.key, 0) + ticks


def play(sharing: Sharing, history: list[tuple[int, str, str, int]]) -> Iterator[Log]:
    """The log after each event; at last everybody leaves."""
    log = Log()
    leaving = [(7, "leave", key, 1) for key in "abcde"]
    for number, (step, verb, key, weight) in enumerate([*history, *leaving]):
        log.now += step
        log.occupied += step if log.inside else 0
        if verb == "enter":
            sharing.enter(key, log.now, weight)
            log.inside.setdefault(key, Span(f"{key}{number}", log.now, 0, weight))
        elif verb == "leave":
            ticks, stay = sharing.leave(key, log.now), log.inside.pop(key, None)
            if stay is not None:
                log.stays.append(stay._replace(end_ns=log.now))
                log.take(stay, ticks)
        elif verb == "cut" and key in log.inside:
            log.take(log.inside[key], sharing.cut(key, log.now))
        else:
            sharing.advance(log.now)
        yield log


@given(gpus=gpu_counts, history=histories())
@LAW
def test_law_1_conservation_after_every_event(
    gpus: int, history: list[tuple[int, str, str, int]]
) -> None:
    sharing = Sharing(gpus, 0)
    for log in play(sharing, history):
        parts = sharing.settled + sharing.open_ticks() + sharing.remainder + sharing.rounding
        assert parts == sharing.busy
        assert sum(log.taken.values()) == sharing.settled
        unseen = log.now - sharing.now_ns if log.inside else 0  # what changed nothing was no event
        assert sharing.busy == (log.occupied - unseen) * gpus * TICKS_PER_GPU_NS


@given(gpus=gpu_counts, history=histories())
@LAW
def test_law_5_a_replay_of_the_log_is_the_live_state_bit_for_bit(
    gpus: int, history: list[tuple[int, str, str, int]]
) -> None:
    sharing = Sharing(gpus, 0)
    *_, log = play(sharing, history)
    replayed = share_window(gpus, 0, log.now, log.stays)
    assert {key: ticks for key, ticks in log.taken.items() if ticks} == replayed.by_key
    assert (sharing.busy, sharing.rounding) == (replayed.busy, replayed.rounding)
    assert (sharing.weight, sharing.residents) == (0, {})


@given(gpus=gpu_counts, spans=span_lists())
@LAW
def test_law_2_and_3_closed_and_never_dearer_than_alone(gpus: int, spans: list[Span]) -> None:
    shares = share_window(gpus, 0, 30_000, spans)
    assert sum(shares.by_key.values()) + shares.rounding == shares.busy
    assert shares.busy <= gpus * 30_000 * TICKS_PER_GPU_NS
    for span in spans:
        alone = gpus * (span.end_ns - span.start_ns) * TICKS_PER_GPU_NS
        assert 0 <= shares.by_key[span.key] <= alone


@given(gpus=gpu_counts, spans=span_lists(), start=st.integers(0, 5000))
@LAW
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
@LAW
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
@LAW
def test_law_5_order_and_duplicates_change_nothing(gpus: int, spans: list[Span], seed) -> None:  # type: ignore[no-untyped-def]
    shuffled = [*spans, *spans]
    seed.shuffle(shuffled)
    assert share_window(gpus, 0, 30_000, shuffled) == share_window(gpus, 0, 30_000, spans)


@given(gpus=gpu_counts, spans=span_lists(), cut=st.integers(1, 29_999))
@LAW
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
