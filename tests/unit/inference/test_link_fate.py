"""Fates of links: told once each, early or late or never; an older agent tells none."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from inference.link_fate import EARLY_MAX, WAIT_NS, Fates
from inference.link_lease import ControlLink, LeaseLinks
from inference.meter import UNPROVEN_NS, Residence, Target
from kernel.wire import links as wire

TARGET = Target(1, "acct_1", "key_1", "dep_1", "rep_1", "lease_1", 3, "m", "chat")


@pytest.fixture
def fates() -> Fates:
    made = Fates(lambda: 0)
    made.told = True
    return made


def test_of_an_agent_that_tells_none_nothing_is_asked() -> None:
    heard: list[bool | None] = []
    assert not Fates(lambda: 0).ask(1, heard.append)
    assert heard == []


@pytest.mark.parametrize("begun", [True, False])
@pytest.mark.parametrize("early", [True, False])
def test_the_word_comes_once_before_or_after_the_question(
    fates: Fates, begun: bool, early: bool
) -> None:
    heard: list[bool | None] = []
    steps: list[Callable[[], object]] = [
        lambda: fates.take(7, begun=begun),
        lambda: fates.ask(7, heard.append),
    ]
    for step in steps if early else reversed(steps):
        step()
    fates.take(8, begun=not begun)
    fates.sweep(2 * WAIT_NS)
    fates.lost()
    assert heard == [begun]


def test_a_word_that_does_not_come_in_time_is_no_word(fates: Fates) -> None:
    heard: list[bool | None] = []
    assert fates.ask(7, heard.append)
    fates.sweep(WAIT_NS)
    assert heard == []
    fates.sweep(WAIT_NS + 1)
    fates.take(7, begun=True)
    assert heard == [None]


def test_what_nobody_asks_for_is_forgotten(fates: Fates) -> None:
    heard: list[bool | None] = []
    for number in range(EARLY_MAX + 1):
        fates.take(number, begun=True)
    for number in (0, EARLY_MAX):
        fates.ask(number, heard.append)
    assert heard == [True]  # of the last


def test_with_the_control_link_all_that_it_would_have_said_is_gone(fates: Fates) -> None:
    heard: list[bool | None] = []
    fates.ask(7, heard.append)
    fates.lost()
    assert heard == [None]
    assert not fates.ask(8, heard.append)


def test_another_control_link_of_the_lease_says_nothing_of_its_fates() -> None:
    lease = LeaseLinks("lease_1", 1, b"k" * 32, ports_max=4, now_ns=lambda: 0)
    stranger = ControlLink(None, lease)  # type: ignore[arg-type]
    lease.said(wire.Tells(), stranger)
    assert not lease.fates.told


@pytest.mark.parametrize(
    ("begun", "after_ns", "counted_ns"),
    [
        (True, 5, 5),
        (False, 10 * UNPROVEN_NS, 0),
        (None, UNPROVEN_NS - 1, 0),
        (None, UNPROVEN_NS, UNPROVEN_NS),
    ],
)
def test_what_counts_of_a_request_that_was_left(
    begun: bool | None, after_ns: int, counted_ns: int
) -> None:
    one = Residence(TARGET, f"req_{7:032x}", attempt=0, start_ns=100, day=20260101)
    assert one.unheard_until(100 + after_ns, begun=begun) - 100 == counted_ns
