"""Blocks: what each outcome shuts, how long it rests, who tries first, what opens it again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.offers.core import breaker
from brain.offers.core.breaker import (
    ANY,
    FORGET_SECONDS,
    PROBE_SECONDS_MAX,
    RESTS,
    WHOLE_CLOUD,
    Block,
    Outcome,
    OutcomeKind,
    Scope,
)
from kernel.clock import NS

NOW = 1_000_000 * NS
PLACE = Scope("vast", "eu", "NVIDIA L4", "h1", "offer-1")


def outcome(kind: OutcomeKind, **changes: object) -> Outcome:
    values: dict[str, object] = {
        "cloud": "vast",
        "region": "eu",
        "gpu_name": "NVIDIA L4",
        "host": "h1",
        "kind": kind,
        "offer_key": "offer-1",
    }
    return Outcome(**{**values, **changes})  # type: ignore[arg-type]


def strike(block: Block | None, one: Outcome, now_ns: int) -> Block:
    return breaker.struck(block, breaker.scopes_of(one)[0], one, now_ns)


def struck(kind: OutcomeKind, times: int = 1, **changes: object) -> Block:
    block = None
    for _ in range(times):
        block = strike(block, outcome(kind, **changes), NOW)
    assert block is not None
    return block


def rest_seconds(block: Block) -> int:
    return (block.until_ns - NOW) // NS


SCOPES = [
    (OutcomeKind.NO_CAPACITY, Scope("vast", "eu", "NVIDIA L4", "h1")),
    (OutcomeKind.THROTTLED, Scope("vast")),
    (OutcomeKind.REFUSED, Scope("vast", offer_key="offer-1")),
    (OutcomeKind.BOOT_FAILED, Scope("vast", host="h1")),
    (OutcomeKind.BOOT_SLOW, Scope("vast", host="h1")),
    (OutcomeKind.INTERRUPTED, Scope("vast", "eu")),
    (OutcomeKind.CREDENTIALS, Scope("vast")),
    (OutcomeKind.BROKE, Scope("vast")),
    (OutcomeKind.ACCEPTED, None),
    (OutcomeKind.SERVED, None),
    (OutcomeKind.ABANDONED, None),
]


@pytest.mark.feature("F2")
@pytest.mark.parametrize(("kind", "scope"), SCOPES)
def test_each_outcome_shuts_what_it_speaks_of(kind: OutcomeKind, scope: Scope | None) -> None:
    found = breaker.scopes_of(outcome(kind))
    assert (found[0] if found else None) == scope


def test_every_outcome_is_listed_above() -> None:
    assert {kind for kind, _ in SCOPES} == set(OutcomeKind)


@pytest.mark.feature("F2")
def test_without_a_host_want_of_capacity_shuts_the_region_for_that_gpu() -> None:
    block = struck(OutcomeKind.NO_CAPACITY, host="")
    assert block.scope == Scope("vast", "eu", "NVIDIA L4")
    assert block.scope.covers(Scope("vast", "eu", "NVIDIA L4", "", "another"))
    assert not block.scope.covers(Scope("vast", "us", "NVIDIA L4", "", "another"))
    assert not block.scope.covers(Scope("vast", "eu", "NVIDIA H100", "", "another"))


@pytest.mark.feature("F2")
def test_rests_double_up_to_their_most() -> None:
    rests = [rest_seconds(struck(OutcomeKind.NO_CAPACITY, times)) for times in range(1, 8)]
    assert rests == [30, 60, 120, 240, 480, 600, 600]


@pytest.mark.feature("F2")
def test_a_cloud_that_says_when_is_believed_within_bounds() -> None:
    assert rest_seconds(struck(OutcomeKind.THROTTLED, retry_after=42.0)) == 42
    most = RESTS[OutcomeKind.THROTTLED].most_seconds
    assert rest_seconds(struck(OutcomeKind.THROTTLED, retry_after=1e12)) == most
    assert rest_seconds(struck(OutcomeKind.THROTTLED, retry_after=None)) == 5
    assert rest_seconds(struck(OutcomeKind.THROTTLED, retry_after=-1.0)) == 5


@pytest.mark.feature("F2")
def test_one_bad_boot_on_an_unknown_host_says_little() -> None:
    times = [struck(OutcomeKind.BOOT_FAILED, times, host="") for times in (1, 2, 3)]
    assert [block.rests(NOW) for block in times] == [False, False, True]
    assert struck(OutcomeKind.BOOT_FAILED).rests(NOW)


@pytest.mark.feature("F2")
def test_when_the_rest_is_over_one_tries_first() -> None:
    block = struck(OutcomeKind.NO_CAPACITY)
    later = block.until_ns
    assert breaker.barred([block], later - 1) is block
    assert breaker.barred([block], later) is None
    (probe,) = breaker.to_probe([block], later)
    assert breaker.barred([probe], later) is probe
    assert breaker.barred([probe], later + PROBE_SECONDS_MAX * NS) is None


@pytest.mark.feature("F2")
def test_an_interruption_rests_and_is_over() -> None:
    block = struck(OutcomeKind.INTERRUPTED)
    assert block.rests(NOW)
    assert breaker.to_probe([block], block.until_ns) == []


@pytest.mark.feature("F2")
def test_what_a_probe_learns_ends_the_block_or_makes_it_rest_again() -> None:
    block = struck(OutcomeKind.NO_CAPACITY)
    (probe,) = breaker.to_probe([block], block.until_ns)
    at = block.until_ns + NS
    assert breaker.after(probe, outcome(OutcomeKind.ACCEPTED), at) is None
    again = strike(probe, outcome(OutcomeKind.NO_CAPACITY), at)
    assert (again.strikes, again.until_ns - at, again.probe_until_ns) == (2, 60 * NS, None)
    freed = breaker.after(probe, outcome(OutcomeKind.ABANDONED), at)
    assert freed is not None
    assert breaker.barred([freed], at) is None
    other = breaker.after(probe, outcome(OutcomeKind.BOOT_FAILED), at)
    assert other is not None
    assert breaker.barred([other], at) is other


def test_a_start_clears_what_a_mere_machine_does_not() -> None:
    block = struck(OutcomeKind.BOOT_SLOW)
    assert breaker.after(block, outcome(OutcomeKind.ACCEPTED), NOW) == block
    assert breaker.after(block, outcome(OutcomeKind.SERVED), NOW) is None


@pytest.mark.feature("F2")
def test_capacity_that_came_up_ends_the_rest_of_an_older_strike_only() -> None:
    block = struck(OutcomeKind.NO_CAPACITY, 5)
    early = breaker.appeared(block, PLACE, NOW + NS)
    assert early is not None
    assert breaker.barred([early], NOW + NS) is None
    assert breaker.appeared(block, PLACE, NOW) is None
    elsewhere = Scope("vast", "us", "NVIDIA L4", "h9", "offer-2")
    assert breaker.appeared(block, elsewhere, NOW + NS) is None
    assert breaker.appeared(struck(OutcomeKind.BOOT_FAILED), PLACE, NOW + NS) is None


def test_what_is_said_of_our_account_is_not_for_renters() -> None:
    for kind in (OutcomeKind.CREDENTIALS, OutcomeKind.BROKE):
        assert "key 7" not in struck(kind, detail="key 7 is revoked").reason
    assert "sold out" in struck(OutcomeKind.NO_CAPACITY, detail="sold out").reason


def test_old_strikes_are_forgotten() -> None:
    block = struck(OutcomeKind.NO_CAPACITY, 6)
    late = block.until_ns + FORGET_SECONDS * NS + 1
    assert strike(block, outcome(OutcomeKind.NO_CAPACITY), late).strikes == 1


KINDS = st.sampled_from([kind for kind in OutcomeKind if kind in RESTS])


@pytest.mark.feature("F2")
@given(st.lists(st.tuples(KINDS, st.integers(0, 4000), st.sampled_from(["", "h1"])), max_size=30))
def test_no_rest_is_endless_and_what_rests_covers_the_place(
    told: list[tuple[OutcomeKind, int, str]],
) -> None:
    kept: dict[tuple[Scope, OutcomeKind], Block] = {}
    now = NOW
    for kind, seconds, host in told:
        now += seconds * NS
        one = outcome(kind, host=host)
        for scope in breaker.scopes_of(one):
            block = breaker.struck(kept.get((scope, kind)), scope, one, now)
            kept[(scope, kind)] = block
            assert now < block.until_ns <= now + RESTS[kind].most_seconds * NS
            assert block.scope.covers(breaker.place_of(one))
            assert ANY not in (block.scope.cloud, "")


@pytest.mark.feature("F2")
def test_a_cloud_that_refuses_at_place_after_place_rests_as_a_whole_and_never_long() -> None:
    """So that the next cloud is asked before the first one's offers are all tried."""
    whole, block = Scope("vast"), None
    for host in range(WHOLE_CLOUD.strikes):
        one = outcome(OutcomeKind.NO_CAPACITY, host=f"h{host}")
        assert breaker.scopes_of(one)[1] == whole
        assert block is None or not block.rests(NOW)
        block = breaker.struck(block, whole, one, NOW)
    assert block is not None
    assert (block.rests(NOW), rest_seconds(block)) == (True, WHOLE_CLOUD.first_seconds)
    for _ in range(9):
        block = breaker.struck(block, whole, outcome(OutcomeKind.NO_CAPACITY), NOW)
    assert rest_seconds(block) == WHOLE_CLOUD.most_seconds
    assert breaker.after(block, outcome(OutcomeKind.ACCEPTED, host="h77"), NOW) is None


@given(st.text(max_size=2000))
def test_what_a_cloud_says_is_one_short_line(detail: str) -> None:
    reason = strike(None, outcome(OutcomeKind.REFUSED, detail=detail), NOW).reason
    assert reason.endswith(".")
    assert "\n" not in reason
    assert len(reason) < 300
