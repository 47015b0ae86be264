"""Modes and what findings lead to: shadow first, two strikes for time, nothing without a mode."""

from __future__ import annotations

import pytest

from brain.trust.core.classes import Yardstick, class_of, expected_ms, impossible, size
from brain.trust.core.kinds import (
    CONFIRM_NS,
    CheckKind,
    Finding,
    Mode,
    ModeNow,
    check_change,
    withheld,
)
from brain.trust.core.steps import Around, Next, View, deadline_ns, decide
from brain.trust.states import CheckState
from kernel.clock import NS
from kernel.errors import BadInput, Conflict

pytestmark = pytest.mark.feature("C6")
DAY = 86_400 * NS
ENFORCED = {kind: ModeNow(Mode.ENFORCED, 0) for kind in CheckKind}
SHADOW = {kind: ModeNow(Mode.SHADOW, 0) for kind in CheckKind}


def failed(kind: CheckKind, at_ns: int = 5) -> Finding:
    return Finding(kind, "GPU-a", False, at_ns, "it lied")


def passed(kind: CheckKind, at_ns: int) -> Finding:
    return Finding(kind, "GPU-a", True, at_ns)


def test_only_what_is_enforced_withholds() -> None:
    found = [failed(CheckKind.MEMORY)]
    assert withheld(found, SHADOW) == ""
    assert withheld(found, {}) == ""
    assert withheld(found, ENFORCED) == "It failed its memory check of GPU GPU-a: it lied"


def test_a_later_pass_lets_back() -> None:
    assert withheld([failed(CheckKind.MEMORY), passed(CheckKind.MEMORY, 6)], ENFORCED) == ""
    assert withheld([passed(CheckKind.MEMORY, 4), failed(CheckKind.MEMORY)], ENFORCED) != ""


def test_being_slow_counts_at_the_second_time() -> None:
    one, two = failed(CheckKind.SPEED, 10), failed(CheckKind.SPEED, 20)
    assert withheld([one], ENFORCED) == ""
    assert withheld([one, two], ENFORCED) != ""
    assert withheld([one, failed(CheckKind.SPEED, 11 + CONFIRM_NS)], ENFORCED) == ""
    assert withheld([one, passed(CheckKind.SPEED, 15), two], ENFORCED) == ""


def test_enforcing_needs_days_in_shadow_mode() -> None:
    young, old = ModeNow(Mode.SHADOW, 10 * DAY), ModeNow(Mode.SHADOW, 3 * DAY)
    with pytest.raises(Conflict, match="0 days; 7 are needed"):
        check_change(CheckKind.MEMORY, young, Mode.ENFORCED, 10 * DAY + NS, 7)
    with pytest.raises(Conflict, match="shadow mode first"):
        check_change(CheckKind.MEMORY, ModeNow(Mode.OFF, 0), Mode.ENFORCED, 10 * DAY, 7)
    with pytest.raises(BadInput, match="already"):
        check_change(CheckKind.MEMORY, old, Mode.SHADOW, 10 * DAY, 7)
    check_change(CheckKind.MEMORY, old, Mode.ENFORCED, 10 * DAY, 7)
    check_change(CheckKind.MEMORY, young, Mode.OFF, 10 * DAY, 7)


def view(**changes: object) -> View:
    base = {"check_id": "c", "gpu_uuid": "g", "state": CheckState.ASKED}
    return View(**{**base, "asked_ns": 0, "deadline_ns": 900 * NS, **changes})  # type: ignore[arg-type]


HERE = Around(held=False, heard=True, same_boot=True)


@pytest.mark.parametrize(
    ("one", "around", "now_s", "what"),
    [
        (view(), HERE, 5, Next.WAIT),
        (view(), HERE, 61, Next.DROP),  # no beat fetched it
        (view(handed_ns=1), HERE, 61, Next.WAIT),
        (view(handed_ns=1), HERE, 900, Next.LATE),
        (view(handed_ns=1), Around(False, False, True), 61, Next.DROP),
        (view(handed_ns=1, committed_ns=2), Around(True, True, True), 61, Next.DROP),
        (view(handed_ns=1, committed_ns=2), Around(False, True, False), 61, Next.DROP),
        (view(handed_ns=1, refused_ns=2), HERE, 61, Next.REFUSED),
        (view(handed_ns=1, committed_ns=2), HERE, 61, Next.RECALL),
        (view(state=CheckState.RECALL, handed_ns=1, recalled_ns=3), HERE, 61, Next.OPEN),
        (view(state=CheckState.OPEN, handed_ns=1, opened_ns=4), HERE, 61, Next.JUDGE),
        (view(state=CheckState.ENDED, contradicted_ns=4), HERE, 61, Next.CONTRADICTED),
    ],
)
def test_what_becomes_of_a_check(one: View, around: Around, now_s: int, what: Next) -> None:
    assert decide(one, [one], around, now_s * NS).what is what


def test_the_recall_waits_for_all_that_are_checked_together() -> None:
    done, busy = view(handed_ns=1, committed_ns=2), view(check_id="d", handed_ns=1)
    out = view(check_id="e", handed_ns=1, refused_ns=2)
    assert decide(done, [done, busy], HERE, 9).what is Next.WAIT
    assert decide(done, [done, out], HERE, 9).what is Next.RECALL


def test_names_are_matched_as_whole_words_and_slices_are_found() -> None:
    l4, l40s = class_of("NVIDIA L4"), class_of("NVIDIA L40S")
    assert (l4 and l4.name, l40s and l40s.name) == ("l4", "l40s")
    assert class_of("NVIDIA GeForce GTX 1080") is None
    assert impossible("NVIDIA L4", 23_034) == ""
    assert impossible("NVIDIA A100-SXM4-80GB", 81_920) == ""
    assert "slice" in impossible("NVIDIA H100 80GB HBM3", 9_984)
    assert "are told" in impossible("NVIDIA L4", 81_559)


def test_expected_times_are_of_seconds_and_grow_with_the_memory() -> None:
    small, large = size(23_034, simulated=False), size(81_559, simulated=False)
    assert small.blocks == 23_034 * 9 // 10
    times = [expected_ms("NVIDIA H100", one, simulated=False) or 0 for one in (small, large)]
    assert 1_000 < times[0] < times[1] < 120_000
    assert Yardstick().expected_ms("NVIDIA GTX 1080", small, simulated=False) is None
    assert deadline_ns(0, 10_000) == 200 * NS
