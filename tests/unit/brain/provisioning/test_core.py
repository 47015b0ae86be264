"""Tags, proofs that a machine is gone, and what is done with one."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.clouds import Machine, MachineState
from brain.provisioning import core
from brain.provisioning.core import Facts, Fault, LeaseSight, Owner, Sight, Tag
from brain.provisioning.states import IntentState
from kernel.clock import NS
from kernel.ids import IntentId

NOW = 1_800_000_000 * NS
LAG = 120
INTENT = IntentId("intent_" + "ab" * 16)
FACTS = Facts(
    state=IntentState.BOOTING,
    wanted=True,
    ordered_ns=NOW,
    made_ns=NOW,
    boot_by_ns=NOW + 600 * NS,
    seen_ns=None,
    missing_ns=None,
    missing_count=0,
)
LEASE = LeaseSight()
RUNNING = Machine("m", "t", MachineState.RUNNING)


@given(st.text(min_size=1, max_size=64), st.integers(0, 2**128 - 1), st.integers(1, 999_999))
def test_a_tag_is_short_plain_and_read_back(installation: str, number: int, attempt: int) -> None:
    intent = IntentId(f"intent_{number:032x}")
    tag = core.tag_of(installation, intent, attempt)
    assert len(tag) <= 64
    assert set(tag) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")
    assert core.read_tag(installation, tag) == Tag(intent, attempt)
    assert core.read_tag(installation + "x", tag) is None


@given(st.text(max_size=80))
def test_what_is_not_a_tag_is_nobodys(text: str) -> None:
    assert core.read_tag("tests", text) is None


def test_a_join_token_is_of_one_order_and_one_installation() -> None:
    one = core.join_token(b"s", INTENT, 1)
    assert one == core.join_token(b"s", INTENT, 1)
    assert len({one, core.join_token(b"s", INTENT, 2), core.join_token(b"t", INTENT, 1)}) == 3


@pytest.mark.feature("B7")
@given(st.integers(0, LAG - 1))
def test_a_new_machine_that_is_not_listed_yet_is_not_gone(seconds: int) -> None:
    for state in (IntentState.BOOTING, IntentState.TERMINATING):
        facts = replace(FACTS, state=state)
        assert core.sight(facts, None, LAG, NOW + seconds * NS) is Sight.MISSING
        asked = replace(facts, missing_ns=NOW, missing_count=5)
        assert not core.gone_by_refusals(asked, LAG, NOW + seconds * NS)


def test_one_that_is_to_go_is_gone_when_a_list_lacks_it() -> None:
    facts = replace(FACTS, state=IntentState.TERMINATING)
    assert core.sight(facts, None, LAG, NOW + LAG * NS) is Sight.GONE
    assert core.sight(facts, RUNNING, LAG, NOW + LAG * NS) is Sight.LISTED


def test_one_that_should_run_is_gone_when_lists_lack_it_for_a_while() -> None:
    later = NOW + 1000 * NS
    seen = replace(FACTS, seen_ns=NOW)
    assert core.sight(seen, None, LAG, later) is Sight.MISSING
    lost = replace(seen, missing_ns=later - 29 * NS)
    assert core.sight(lost, None, LAG, later) is Sight.MISSING
    assert core.sight(lost, None, LAG, later + NS) is Sight.GONE


def test_the_clouds_no_such_machine_counts_the_second_time_and_later() -> None:
    facts = replace(FACTS, state=IntentState.TERMINATING, seen_ns=NOW, missing_ns=NOW)
    late = NOW + 30 * NS
    assert not core.gone_by_refusals(replace(facts, missing_count=1), LAG, late)
    assert not core.gone_by_refusals(replace(facts, missing_count=2), LAG, late - NS)
    assert core.gone_by_refusals(replace(facts, missing_count=2), LAG, late)


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        (MachineState.FAILED, Fault.BOOT_FAILED),
        (MachineState.STOPPED, Fault.BOOT_FAILED),
        (MachineState.INTERRUPTED, Fault.INTERRUPTED),
        (MachineState.UNHEALTHY, Fault.BOOT_FAILED),
    ],
)
def test_the_clouds_bad_word_ends_it_at_the_first_look(state: MachineState, fault: Fault) -> None:
    found = core.judge(FACTS, LEASE, replace(RUNNING, state=state), Sight.LISTED, NOW)
    assert found.end
    assert found.fault is fault


def test_a_machine_that_is_unwell_at_work_is_judged_by_its_agent() -> None:
    facts = replace(FACTS, state=IntentState.SERVING)
    unwell = replace(RUNNING, state=MachineState.UNHEALTHY)
    assert core.judge(facts, LEASE, unwell, Sight.LISTED, NOW) == core.Verdict()


def test_a_stop_that_nobody_asked_for_is_an_interruption() -> None:
    serving = replace(FACTS, state=IntentState.SERVING)
    lease = replace(LEASE, awaits_gpus=False, ready=True)
    stopped = replace(RUNNING, state=MachineState.STOPPED)
    assert core.judge(serving, lease, stopped, Sight.LISTED, NOW).fault is Fault.INTERRUPTED


def test_a_boot_ends_with_the_agents_word_or_at_its_deadline() -> None:
    def look(lease: LeaseSight, seconds: int) -> core.Verdict:
        return core.judge(FACTS, lease, RUNNING, Sight.LISTED, NOW + seconds * NS)

    assert look(LEASE, 599) == core.Verdict()
    assert look(LEASE, 600).fault is Fault.BOOT_SLOW
    assert look(replace(LEASE, awaits_gpus=False), 600).enrolled


@pytest.mark.parametrize(
    "lease",
    [
        None,
        LeaseSight(closed=True),
        LeaseSight(stopping=True, stop_asked_ns=NOW),
        LeaseSight(stopping=True, awaits_gpus=False, silent=True, stop_asked_ns=NOW),
        LeaseSight(stopping=True, awaits_gpus=False, stop_asked_ns=NOW - 400 * NS),
    ],
)
def test_a_machine_whose_lease_is_over_is_to_go(lease: LeaseSight | None) -> None:
    assert core.judge(FACTS, lease, RUNNING, Sight.LISTED, NOW).end


def test_an_agent_that_stops_its_work_is_left_to_it() -> None:
    lease = LeaseSight(stopping=True, awaits_gpus=False, stop_asked_ns=NOW, drain_seconds=30)
    assert core.unwanted(lease, NOW + 89 * NS) == ""
    assert core.unwanted(lease, NOW + 90 * NS)


def owner(state: IntentState, machine_id: str | None = "m", attempt: int = 1) -> Owner:
    return Owner(state, attempt, machine_id)


def test_whose_machine_it_is() -> None:
    tag = Tag(INTENT, 1)

    def why(given: Owner | None, newest_ns: int = 2**90) -> core.Stray | None:
        return core.stray(tag, RUNNING, given, newest_ns)

    assert why(owner(IntentState.SERVING)) is None
    assert why(owner(IntentState.CREATING, None)) is None
    for other in (
        owner(IntentState.SERVING, "other"),
        owner(IntentState.CREATING, None, attempt=2),
        owner(IntentState.TERMINATED),
        owner(IntentState.ABSENT, None),
        None,
    ):
        found = why(other)
        assert found is not None
        assert not found.restored
    newer = why(owner(IntentState.CREATING, None, attempt=0))
    assert newer is not None
    assert newer.restored
    lost = why(None, newest_ns=0)
    assert lost is not None
    assert lost.restored


@given(st.integers(0, 200), st.integers(0, 200))
def test_many_means_more_than_three_and_a_fifth(unknown: int, known: int) -> None:
    ours = unknown + known
    many = core.too_many(unknown, ours)
    assert many == (unknown > 3 and unknown / ours > 0.2)


@given(st.integers(0, 10**12), st.integers(0, 10**7), st.integers(0, 10**7))
def test_cost_over_two_spans_is_the_cost_of_both(hourly: int, one: int, two: int) -> None:
    parts = core.accrued_nano(hourly, NOW, NOW + one) + core.accrued_nano(
        hourly, NOW + one, NOW + one + two
    )
    whole = core.accrued_nano(hourly, NOW, NOW + one + two)
    assert whole <= parts <= whole + 1


def test_waiting_grows_to_ten_minutes_and_no_further() -> None:
    waits = [core.back_off_seconds(failures) for failures in range(1, 40)]
    assert waits == sorted(waits)
    assert (waits[0], waits[-1]) == (2.0, 600.0)


def test_the_oldest_of_two_is_kept() -> None:
    a, b = replace(RUNNING, machine_id="a", created_ns=2), replace(RUNNING, created_ns=1)
    c = replace(RUNNING, machine_id="c")
    assert [m.machine_id for m in core.oldest_first([c, a, b])] == ["m", "a", "c"]


# --- without an agent ---------------------------------------------------------------------------

ALONE = replace(LEASE, agentless=True, awaits_gpus=True)


def test_without_an_agent_the_clouds_word_that_it_runs_is_the_first_sign() -> None:
    def look(state: MachineState, seconds: int = 0) -> core.Verdict:
        machine = replace(RUNNING, state=state)
        return core.judge(FACTS, ALONE, machine, Sight.LISTED, NOW + seconds * NS)

    assert look(MachineState.RUNNING).enrolled
    assert look(MachineState.STARTING) == core.Verdict()
    assert look(MachineState.UNKNOWN, 599) == core.Verdict()
    late = look(MachineState.STARTING, 600)
    assert (bool(late.end), late.failed, late.fault) == (True, True, Fault.NONE)


@pytest.mark.parametrize("state", [IntentState.BOOTING, IntentState.SERVING])
@pytest.mark.parametrize("said", [MachineState.FAILED, MachineState.STOPPED])
def test_work_that_failed_alone_rests_nobody_elses_place(
    state: IntentState, said: MachineState
) -> None:
    facts = replace(FACTS, state=state)
    found = core.judge(facts, ALONE, replace(RUNNING, state=said), Sight.LISTED, NOW)
    assert (bool(found.end), found.failed, found.fault) == (True, True, Fault.NONE)


def test_one_that_was_taken_away_did_not_fail() -> None:
    facts = replace(FACTS, state=IntentState.SERVING)
    taken = replace(RUNNING, state=MachineState.INTERRUPTED)
    found = core.judge(facts, ALONE, taken, Sight.LISTED, NOW)
    assert (found.failed, found.fault) == (False, Fault.INTERRUPTED)


def test_the_cloud_may_not_be_unsure_for_longer_than_a_lease_lives_without_renewal() -> None:
    unwell = replace(RUNNING, state=MachineState.UNKNOWN)
    facts = replace(FACTS, state=IntentState.SERVING, unwell_ns=NOW)
    until = NOW + ALONE.ttl_seconds * NS
    assert core.judge(facts, ALONE, unwell, Sight.LISTED, until - 1) == core.Verdict()
    assert core.judge(facts, ALONE, unwell, Sight.LISTED, until).fault is Fault.INTERRUPTED
    with_agent = replace(LEASE, awaits_gpus=False)
    assert core.judge(facts, with_agent, unwell, Sight.LISTED, until) == core.Verdict()


def test_a_stop_ends_it_at_once() -> None:
    facts = replace(FACTS, state=IntentState.SERVING)
    stopping = replace(ALONE, stopping=True, stop_asked_ns=NOW, ready=True)
    assert core.judge(facts, stopping, RUNNING, Sight.LISTED, NOW).end
