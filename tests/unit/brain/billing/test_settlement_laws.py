"""METERING's laws on whole settlements: windows, money, late news, closing. Values only."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import replace
from fractions import Fraction
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from brain.billing.core.lease import buckets
from brain.billing.core.posting import LATE, Asset, Bucket, lease_line
from brain.billing.core.window import Piece
from kernel.money import CARRY_DIVISOR, TICKS_PER_GPU_NS
from tests.support.cases import cases
from tests.unit.brain.billing.scenes import ACCOUNTS, END, WINDOW, Books, a_lease, pieces

pytestmark = pytest.mark.feature("G1")
GPUS = st.integers(1, 4)
PHASES = ("loading_ns", "ready_ns", "draining_ns")
LAW = settings(max_examples=cases(2000, part=24), deadline=None)
# At these a request's tokens cost about what its time does: now one is the less, now the other.
CEILINGS = st.integers(0, 60)


def oracle(gpus: int, given: list[Piece]) -> dict[str, Fraction]:
    """Each piece's share by exact processor sharing, in GPU-ns."""
    edges = sorted({p.start_ns for p in given} | {p.end_ns for p in given})
    shares = {p.key: Fraction(0) for p in given}
    for start, end in itertools.pairwise(edges):
        inside = [p for p in given if p.start_ns <= start and end <= p.end_ns]
        whole = sum(p.weight for p in inside)
        for piece in inside:
            shares[piece.key] += Fraction(gpus * (end - start) * piece.weight, whole)
    return shares


def busy_ns(given: list[Piece], since: int = 0, until: int = END) -> int:
    """The nanoseconds in which anything was resident, counted one by one."""
    spans = [range(max(p.start_ns, since), min(p.end_ns, until)) for p in given]
    return len(set(itertools.chain(*spans)))


def settled_at_once(gpus: int, given: list[Piece], **terms: object) -> Books:
    books = Books(a_lease(gpus=gpus, **terms))
    books.report(*given)
    books.settle(END + WINDOW)
    return books


@LAW
@given(GPUS, pieces())
def test_shares_are_those_of_the_exact_oracle_to_within_the_rounding(
    gpus: int, given: list[Piece]
) -> None:
    books, exact = settled_at_once(gpus, given), oracle(gpus, given)
    changes = 2 * len(given) + 2 * END // WINDOW
    for piece in given:
        short = exact[piece.key] * TICKS_PER_GPU_NS - books.ticks[piece.key]
        assert 0 <= short <= piece.weight * changes


@LAW
@given(GPUS, pieces())
def test_never_dearer_than_alone(gpus: int, given: list[Piece]) -> None:
    books = settled_at_once(gpus, given)
    for piece in given:
        alone = gpus * (piece.end_ns - piece.start_ns) * TICKS_PER_GPU_NS
        assert 0 <= books.ticks[piece.key] <= alone


@LAW
@given(GPUS, pieces(), st.integers(0, 40), st.integers(0, END))
def test_to_know_that_a_piece_is_alone_saves_a_look_and_changes_nothing(
    gpus: int, given: list[Piece], ceiling: int, reported: int
) -> None:
    pieces_of = Counter(p.request for p in given)
    known = [p._replace(lone=p.final and pieces_of[p.request] == 1) for p in given]
    told, lease = [], a_lease(gpus=gpus, ceiling_prompt_nano=ceiling)
    for report in (given, known):
        books = Books(lease, asks_for_lone=report is given)
        late = [p for n, p in enumerate(report) if n % 3 == 0 and p.end_ns > reported]
        books.report(*(p for p in report if p not in late))
        books.settle(reported)
        books.report(*late)
        books.settle(END + WINDOW)
        told.append((books.summary(), books.waived, books.ticks, books.carries))
    assert told[0] == told[1]


@LAW
@given(GPUS, pieces())
def test_busy_time_is_the_union_and_is_conserved(gpus: int, given: list[Piece]) -> None:
    books = settled_at_once(gpus, given)
    busy = gpus * busy_ns(given)
    attributed = -books.posted(f"{books.lease.id}:busy", Asset.GPUNS)
    assert books.lease.busy_ready_ns == busy
    assert attributed + books.lease.rounding_ns == busy


@LAW
@given(GPUS, pieces(), st.lists(st.integers(0, END), min_size=5, max_size=5), st.integers(0, 3))
def test_a_closed_leases_buckets_are_its_phases_and_sum_to_its_capacity(
    gpus: int, given: list[Piece], marks: list[int], phases: int
) -> None:
    """It may end before it loads, before it is ready, before it drains, or after."""
    *begun, seen, closed = sorted(marks)
    known = [at if n < phases else None for n, at in enumerate(begun)]
    lease = a_lease(gpus=gpus, **dict(zip(PHASES, known, strict=True)))
    books = Books(replace(lease, evidence_ns=seen, closed_ns=closed, settled_ns=known[1] or 0))
    books.report(*given)
    books.settle(END + WINDOW)
    books.close()
    load, ready, drain = (seen if at is None else at for at in known)
    busy_ready, busy_drain = busy_ns(given, ready, drain), busy_ns(given, drain, seen)
    times = (load, ready - load, busy_ready + busy_drain)
    rest = (drain - ready - busy_ready, seen - drain - busy_drain, closed - seen)
    parts = dict(zip(Bucket, [gpus * ns for ns in (*times, *rest)], strict=True))
    assert buckets(books.lease) == parts
    assert sum(parts.values()) == gpus * closed
    given_away = {Bucket.BUSY: 0}  # to the requests' accounts, and the rest to rounding
    for bucket, gpu_ns in (parts | given_away).items():
        assert books.posted(lease_line(books.lease.id, bucket), Asset.GPUNS) == gpu_ns


@LAW
@given(GPUS, pieces(), st.integers(0, 2**32))
def test_the_order_of_news_changes_nothing_before_the_closing(
    gpus: int, given: list[Piece], seed: int
) -> None:
    """A piece that comes twice is the database's to know: tests/integration/brain/billing."""
    once = settled_at_once(gpus, given)
    shuffled = Random(seed).sample(given, len(given))
    again = Books(replace(once.lease, settled_ns=0, busy_ready_ns=0, rounding_ns=0))
    again.report(*shuffled)
    again.settle(END + WINDOW)
    assert (again.ticks, again.carries) == (once.ticks, once.carries)
    assert again.summary() == once.summary()


@LAW
@given(GPUS, pieces(), st.lists(st.integers(0, END + WINDOW), max_size=6))
def test_settling_in_steps_is_settling_at_once(
    gpus: int, given: list[Piece], steps: list[int]
) -> None:
    once = settled_at_once(gpus, given)
    stepwise = Books(replace(once.lease, settled_ns=0, busy_ready_ns=0, rounding_ns=0))
    for at in sorted(steps):
        # A gateway ships a piece when it ends; its watermark stays before pieces still open.
        stepwise.report(*(p for p in given if p.end_ns <= at))
        stepwise.settle(min([at, *(p.start_ns for p in given if p.end_ns > at)]))
    stepwise.report(*given)
    stepwise.settle(END + WINDOW)
    assert stepwise.ticks == once.ticks
    assert stepwise.summary() == once.summary()


@LAW
@given(GPUS, pieces(), st.integers(0, 2**32))
def test_late_news_is_booked_and_charged_to_nobody(
    gpus: int, given: list[Piece], seed: int
) -> None:
    late = [p for p in given if Random(f"{seed}{p.key}").random() < 0.4]
    prompt = [p for p in given if p not in late]
    books = settled_at_once(gpus, prompt)
    before = {account: books.posted(account) for account in ACCOUNTS}
    books.report(*late)
    books.settle(END + WINDOW)
    whole, known = gpus * busy_ns(given), gpus * busy_ns(prompt)
    assert books.posted(LATE, Asset.GPUNS) == whole - known
    assert books.lease.busy_ready_ns == whole
    assert all(books.posted(a) >= before[a] for a in ACCOUNTS)  # at most a late waiver
    assert sum(books.late_ticks.values()) == (whole - known) * TICKS_PER_GPU_NS


@LAW
@given(GPUS, pieces(), st.integers(0, 9_000), st.integers(0, 9_000), st.integers(1, 10**13))
def test_money_is_exact_with_one_carry_per_account(
    gpus: int, given: list[Piece], prompt: int, completion: int, rate: int
) -> None:
    books = settled_at_once(
        gpus,
        given,
        pool_rate_nano=rate,
        ceiling_prompt_nano=prompt,
        ceiling_completion_nano=completion,
    )
    for account in ACCOUNTS:
        mine = [p for p in given if p.account == account]
        units = sum(rate * books.ticks[p.key] - books.waived.get(p.key, 0) for p in mine)
        assert -books.posted(account) * CARRY_DIVISOR + books.carries[account] == units


@LAW
@given(GPUS, pieces(), CEILINGS, CEILINGS)
def test_a_bill_is_the_lesser_of_share_and_ceiling(
    gpus: int, given: list[Piece], prompt: int, completion: int
) -> None:
    books = settled_at_once(
        gpus, given, ceiling_prompt_nano=prompt, ceiling_completion_nano=completion
    )
    rate = books.lease.terms.pool_rate_nano
    for request in {p.request for p in given}:
        parts = [p for p in given if p.request == request]
        cost = rate * sum(books.ticks[p.key] for p in parts)
        tokens = sum(prompt * p.prompt_tokens + completion * p.completion_tokens for p in parts)
        bounded = (prompt or completion) and not parts[-1].tokens_estimated
        most = tokens * CARRY_DIVISOR // 1000 if bounded else cost
        charged = cost - sum(books.waived.get(p.key, 0) for p in parts)
        assert charged == (0 if parts[-1].failed else min(cost, most))


@LAW
@given(GPUS, pieces(), st.integers(0, END))
def test_what_lies_beyond_the_evidence_of_life_waits_for_it(
    gpus: int, given: list[Piece], evidence: int
) -> None:
    books = Books(a_lease(gpus=gpus, evidence_ns=evidence))
    books.report(*given)
    books.settle(END + WINDOW)
    sure = evidence // WINDOW * WINDOW  # the end of the last window that it covers
    assert gpus * busy_ns(given, 0, sure) <= books.lease.busy_ready_ns
    assert books.lease.busy_ready_ns <= gpus * busy_ns(given, 0, evidence)
    books.lease = replace(books.lease, evidence_ns=END)
    books.settle(END + WINDOW)
    assert books.lease.busy_ready_ns == gpus * busy_ns(given)
    assert books.ticks == settled_at_once(gpus, given).ticks


@LAW
@given(pieces(), st.integers(0, END))
def test_one_more_tenant_never_raises_anothers_share(given: list[Piece], start: int) -> None:
    more = given[0]._replace(key="z", request="z", start_ns=start, open_ns=start, end_ns=END)
    without, along = settled_at_once(1, given), settled_at_once(1, [*given, more])
    slack = 4 * len(given) + 2 * END // WINDOW + 4
    for piece in given:
        assert along.ticks[piece.key] <= without.ticks[piece.key] + piece.weight * slack
