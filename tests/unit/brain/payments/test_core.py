"""Pure decisions of payments."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.payments import core
from brain.payments.core import USD, Exchange, Refill, Rule, Spent, Standing, Tried
from brain.payments.ports import PaymentState, Reversal, ReversalKind, Seen
from brain.payments.states import OPEN, TOP_UP, TopUpEvent, TopUpState
from kernel.errors import BadInput
from kernel.money import Money

NOW = datetime(2027, 1, 15, 12, tzinfo=UTC)
OWN = Standing(TopUpState.PROCESSING, 2500, "USD", NOW, NOW + timedelta(hours=23))
PAID = Seen(PaymentState.SUCCEEDED, 2500, "USD")
RULE = Rule(Money.usd("10"), Money.usd("25"), Money.usd("100"), Money.usd("200"), "pm_1")


@given(st.integers(5_000_000_000, 10_000_000_000_000), st.integers(1, 10**9))
def test_all_that_is_paid_is_credited_and_it_covers_the_wish(nano: int, rate: int) -> None:
    least, most = Money.usd("5"), Money.usd("10000")
    priced = core.priced(Money(nano), Exchange("XAF", rate, "v1"), least=least, most=most)
    assert priced.credit.nano == priced.amount_minor * rate
    assert 0 <= priced.credit.nano - nano < rate


@pytest.mark.parametrize("usd", ["4.99", "10000.01", "0"])
def test_a_sum_outside_the_limits_is_refused(usd: str) -> None:
    with pytest.raises(BadInput):
        core.priced(Money.usd(usd), USD, least=Money.usd("5"), most=Money.usd("10000"))


@pytest.mark.parametrize("state", list(TopUpState))
def test_money_that_came_is_credited_whatever_was_thought_before(state: TopUpState) -> None:
    decided = core.judge(replace(OWN, state=state), PAID, NOW)
    if state is TopUpState.PAID:
        assert decided is None
    elif state is not TopUpState.CREATED:  # the processor does not know it yet
        assert decided is not None
        assert TOP_UP.next(state, decided.event) is TopUpState.PAID


@pytest.mark.parametrize("seen", [replace(PAID, amount_minor=2499), replace(PAID, currency="EUR")])
def test_another_sum_is_looked_at_by_a_person(seen: Seen) -> None:
    decided = core.judge(OWN, seen, NOW)
    assert decided is not None
    assert decided.event is TopUpEvent.PARK


@pytest.mark.parametrize("seen", list(PaymentState))
def test_what_is_paid_stays_paid(seen: PaymentState) -> None:
    assert core.judge(replace(OWN, state=TopUpState.PAID), replace(PAID, state=seen), NOW) is None


@pytest.mark.parametrize("state", list(TopUpState))
@pytest.mark.parametrize("seen", list(PaymentState))
def test_every_decision_is_a_move_of_the_table(state: TopUpState, seen: PaymentState) -> None:
    decided = core.judge(replace(OWN, state=state), replace(PAID, state=seen), NOW)
    if decided is not None and state is not TopUpState.CREATED:
        assert TOP_UP.can(state, decided.event)


def test_a_total_alone_is_booked_as_what_is_new_of_it() -> None:
    seen = replace(PAID, refunded_minor=700)
    assert core.reversals_of(seen, "x", {"x/refunded/300": 300}) == [
        Reversal("x/refunded/700", ReversalKind.REFUND, 400, stands=True)
    ]
    assert core.reversals_of(seen, "x", {"x/refunded/700": 700}) == []


@given(st.integers(1, 10**6), st.integers(0, 10**6), st.integers(-(10**12), 10**16))
def test_no_more_goes_back_than_is_left_and_unused(paid: int, gone: int, free: int) -> None:
    minor = core.refundable_minor(
        amount_minor=paid, reversed_minor=min(gone, paid), free=Money(free), exchange=USD
    )
    assert 0 <= minor <= paid - min(gone, paid)
    assert minor * USD.nano_per_minor <= max(free, 0)


def tried(state: TopUpState, *, ago: timedelta, hard: bool = False, card: str = "pm_1") -> Tried:
    return Tried(state, Money.usd("25"), card, hard, NOW - ago, NOW - ago)


def decide(
    *before: Tried, free: str = "1", rule: Rule = RULE, day: str = "0", month: str = "0"
) -> Refill:
    spent = Spent(Money.usd(day), Money.usd(month))
    return core.refill(rule, Money.usd(free), before, spent, NOW)


def test_enough_credit_asks_for_nothing() -> None:
    assert (decide(free="10").go, decide(free="9.99").go) == (False, True)


@pytest.mark.parametrize("state", sorted(OPEN | {TopUpState.PARKED}))
def test_one_at_a_time(state: TopUpState) -> None:
    assert not decide(tried(state, ago=timedelta(days=3))).go


@given(st.lists(st.integers(0, 200), max_size=12), st.booleans())
def test_within_an_hour_of_a_refusal_nothing_is_tried(minutes: list[int], hard: bool) -> None:
    before = [
        tried(TopUpState.FAILED, ago=timedelta(minutes=m), hard=hard, card=f"pm_{m % 2}")
        for m in minutes
    ]
    if any(m < 60 for m in minutes):
        assert not decide(*before).go


def test_eight_refusals_in_a_row_turn_it_off() -> None:
    before = [tried(TopUpState.FAILED, ago=timedelta(hours=2 + h)) for h in range(8)]
    assert (decide(*before[:7]).go, decide(*before).off) == (True, True)
    paid = tried(TopUpState.PAID, ago=timedelta(hours=3, minutes=30))
    assert decide(*before, paid).go


def test_a_card_refused_for_good_waits_for_another() -> None:
    before = tried(TopUpState.FAILED, ago=timedelta(days=2), hard=True)
    assert decide(before).off
    assert decide(before, rule=replace(RULE, card="pm_2")).go


def test_the_caps_bound_what_is_begun_in_a_day_and_a_month() -> None:
    assert "day's cap" in decide(day="75.01", month="75.01").why
    assert "month's cap" in decide(day="0", month="175.01").why
    assert decide(day="75", month="175").go


PAST = NOW + timedelta(days=3)


@pytest.mark.parametrize("state", [PaymentState.UNKNOWN, PaymentState.PENDING])
def test_what_no_processor_ends_is_left_to_a_person_in_the_end(state: PaymentState) -> None:
    seen = replace(PAID, state=state)
    soon, late = core.judge(OWN, seen, NOW), core.judge(OWN, seen, PAST)
    assert soon is None
    assert late is not None
    assert late.event is TopUpEvent.PARK
    assert core.judge(replace(OWN, state=TopUpState.PARKED), seen, PAST) is None
    assert core.judge(replace(OWN, state=TopUpState.PARKED), PAID, PAST) is not None


@given(st.floats(0, 10**7))
def test_a_refund_on_its_way_is_looked_at_hourly_at_least(age: float) -> None:
    assert 5 <= core.follow_refund_seconds(age) <= 3600
