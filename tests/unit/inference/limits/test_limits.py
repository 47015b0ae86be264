"""Limits over many processes: the bound is kept in every order of events, and nothing is lost."""

from __future__ import annotations

import random

import pytest

from inference.limits import Limits, Refused
from inference.limits.gate import duration
from kernel.clock import NS
from kernel.errors import LimitReached
from kernel.wire.gateway import AccountRow
from kernel.wire.limits import LimitsAnswer
from tests.unit.inference.limits.desk import ACCOUNT, Desk, Process, key

pytestmark = pytest.mark.feature("A14")
BEAT_NS = NS // 4


def crowd(count: int, **limits: int) -> tuple[Desk, list[Process]]:
    desk = Desk(count)
    return desk, [Process(desk, boot, key(**limits)) for boot in range(count)]


@pytest.mark.parametrize("seed", range(30))
def test_no_more_than_the_limit_and_an_allowance_a_process_in_any_order(seed: int) -> None:
    chance = random.Random(seed)
    limit, count = chance.choice([7, 60, 100, 1000]), chance.randint(1, 5)
    desk, processes = crowd(count, requests_per_minute=limit)
    start_ns = desk.now_ns
    for _ in range(4000):
        one = chance.choice(processes)
        one.do(chance.choice(["send", "send", "send", "ask", "beat"]))
        desk.now_ns += chance.randint(0, 40_000_000)
        passed = sum(process.passed for process in processes)
        refilled = limit * (desk.now_ns - start_ns) / (60 * NS)
        assert passed <= limit + refilled + count * max(limit // 20, 1)


def test_the_whole_limit_can_be_had_at_one_process_at_once() -> None:
    _, [one, *_] = crowd(3, requests_per_minute=100)
    for _ in range(100):
        one.send()
    assert one.passed == 5  # its allowance; the rest waits for the lease
    one.ask()
    assert (one.passed, one.refused) == (100, 0)


def test_over_the_limit_is_refused_with_the_time_to_wait() -> None:
    _, [one] = crowd(1, requests_per_minute=100)
    for _ in range(101):
        one.send()
    one.ask()
    assert isinstance(one.last, Refused)
    assert isinstance(one.last.error, LimitReached)
    assert one.last.error.extra["retry_after_ms"] == 600
    assert "x-ratelimit-remaining-requests: 0\r\n" in one.last.gate.terms()


@pytest.mark.parametrize("count", [1, 3])
def test_steady_load_gets_its_rate(count: int) -> None:
    desk, processes = crowd(count, requests_per_minute=600)
    for step in range(4 * 60 * 5):  # five minutes of twice the rate
        desk.now_ns += BEAT_NS
        for number in range(5):
            processes[(step + number) % count].send()
        for one in processes:
            one.beat()
    passed = sum(one.passed for one in processes)
    assert 600 * 5 <= passed <= 600 * 6 + count * 30


def test_what_one_process_does_not_use_goes_back_to_others() -> None:
    desk, [one, other] = crowd(2, requests_per_minute=100)
    for _ in range(20):
        one.send()
    for _ in range(3):
        desk.now_ns += BEAT_NS
        one.beat()
    for _ in range(80):
        other.send()
    other.ask()
    assert (other.passed, other.refused) == (80, 0)


def test_without_the_brain_each_process_has_its_share() -> None:
    desk, processes = crowd(3, requests_per_minute=300)
    for one in processes:
        one.send()
        one.beat()
    before = sum(one.passed for one in processes)
    for _ in range(4 * 60):
        desk.now_ns += BEAT_NS
        for one in processes:
            one.beat(away=True)
            for _ in range(5):
                one.send()
    passed = sum(one.passed for one in processes) - before
    assert 285 <= passed <= 300 + 3 * 100


def test_a_brain_that_cannot_deal_says_how_many_share() -> None:
    _, [one] = crowd(1, requests_per_minute=300)
    one.send()
    one.limits.answered([], LimitsAnswer([], processes=3, away=True), one.desk.now_ns)
    for _ in range(4 * 60):
        one.desk.now_ns += BEAT_NS
        one.limits.beat(one.desk.now_ns)
        one.send()
        one.send()
    assert 100 <= one.passed <= 100 + 300 // 20


def test_what_was_spent_alone_counts_when_the_brain_is_back() -> None:
    desk, [one] = crowd(1, requests_per_minute=100)
    one.beat(away=True)
    for _ in range(4 * 60):
        one.send()
        desk.now_ns += BEAT_NS
        one.beat(away=True)
    one.beat()
    one.beat()
    spent, one.passed = one.passed, 0
    for _ in range(100):
        one.send()
    one.ask()
    assert spent >= 100
    assert one.passed <= 10


def test_alone_the_limit_is_this_process_s() -> None:
    desk = Desk(1)
    limits = Limits(desk.now, alone=True)
    gate = limits.gate(key(requests_per_minute=60), ACCOUNT)
    assert sum(gate.enter(0) is not None for _ in range(100)) == 60
    desk.now_ns += 2 * NS
    limits.beat(desk.now_ns)
    assert sum(gate.enter(0) is not None for _ in range(100)) == 2


def test_a_debt_is_not_forgotten_in_silence() -> None:
    desk = Desk(1)
    limits = Limits(desk.now, alone=True)

    def minutes(count: int) -> bool:
        """Whether a request is let through after so much silence."""
        for _ in range(count * 4 * 60):
            desk.now_ns += BEAT_NS
            limits.beat(desk.now_ns)
        return limits.gate(key(tokens_per_minute=100), ACCOUNT).enter(1) is not None

    admitted = limits.gate(key(tokens_per_minute=100), ACCOUNT).enter(1)
    assert admitted is not None
    admitted.leave(1000)  # ten minutes' worth
    assert [minutes(3), minutes(3), minutes(5)] == [False, False, True]


@pytest.mark.parametrize("seed", range(30))
def test_slots_are_never_more_than_the_limit(seed: int) -> None:
    chance = random.Random(seed)
    limit = chance.choice([1, 2, 5, 20])
    desk, processes = crowd(3, requests_at_once=limit)
    for _ in range(3000):
        one = chance.choice(processes)
        one.do(chance.choice(["send", "send", "ask", "beat", "end"]))
        desk.now_ns += chance.randint(0, 50_000_000)
        assert sum(len(process.running) for process in processes) <= limit


def test_a_slot_that_is_free_again_can_be_had_elsewhere() -> None:
    desk, [one, other] = crowd(2, requests_at_once=1)
    one.send()
    one.ask()
    one.end()
    for _ in range(3):
        desk.now_ns += BEAT_NS
        one.beat()
    other.send()
    other.ask()
    assert (one.passed, other.passed) == (1, 1)


def test_tokens_are_set_aside_and_corrected_by_what_the_answer_took() -> None:
    _, [one] = crowd(1, tokens_per_minute=1000)
    one.send(600)
    one.ask()
    one.end(tokens=100)
    one.beat()
    one.send(900)
    one.ask()
    assert (one.passed, one.refused) == (2, 0)


def test_the_account_s_limit_holds_over_its_keys() -> None:
    desk = Desk(1)
    account = AccountRow("acct_1", requests_per_minute=10)
    one = Process(desk, 0, key(requests_per_minute=100), account)
    for _ in range(20):
        one.send()
    one.ask()
    assert (one.passed, one.refused) == (10, 10)


def test_a_limit_that_is_changed_holds_at_once() -> None:
    desk = Desk(1)
    limits = Limits(desk.now, alone=True)
    assert limits.gate(key(requests_per_minute=60), ACCOUNT).enter(0) is not None
    gate = limits.gate(key(requests_per_minute=5), ACCOUNT)
    assert sum(gate.enter(0) is not None for _ in range(100)) == 5
    assert limits.gate(key(), ACCOUNT).open


def test_an_address_that_fails_often_is_told_to_wait() -> None:
    desk = Desk(1)
    limits = Limits(desk.now, alone=True, failures=3)
    for _ in range(3):
        limits.failed("192.0.2.1")
    with pytest.raises(LimitReached, match="refused keys"):
        limits.failed("192.0.2.1")
    limits.failed("192.0.2.2")


def test_a_process_that_ends_gives_back_what_it_holds() -> None:
    desk, [one, other] = crowd(2, requests_per_minute=100, requests_at_once=5)
    for _ in range(5):
        one.send()
    one.ask()
    for _ in range(5):
        one.end()
    desk.answer(one.boot, one.limits.farewell())
    for _ in range(5):
        other.send()
    other.ask()
    assert (one.passed, other.passed) == (5, 5)


def test_limits_that_nobody_uses_are_forgotten() -> None:
    desk = Desk(1)
    limits = Limits(desk.now, alone=True)
    limits.gate(key(requests_per_minute=60), ACCOUNT)
    assert limits.gauges()["limits"] == 1
    desk.now_ns += 300 * NS
    limits.beat(desk.now_ns)
    assert limits.gauges()["limits"] == 0


@pytest.mark.parametrize(
    ("ms", "text"), [(12, "12ms"), (1000, "1s"), (8640, "8.64s"), (360_000, "6m0s")]
)
def test_times_are_written_as_openai_writes_them(ms: int, text: str) -> None:
    assert duration(ms) == text
