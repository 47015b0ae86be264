"""Pure decisions of payouts: periods, what a processor's word means, when money may go back."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.adapters.payments.momo.http import reference_of
from brain.adapters.payments.momo.words import amount_minor, amount_text, note
from brain.billing import CurrencyRate
from brain.payouts import core
from brain.payouts.core import Every, Facts
from brain.payouts.ports import PaymentSight, PayoutOrder, Sight
from brain.payouts.states import PAYOUT, UNDER_WAY, PayoutEvent, PayoutState
from kernel.ids import AccountId, PayoutId
from kernel.money import Money

pytestmark = pytest.mark.feature("H6")
ORDER = PayoutOrder(PayoutId("payout_1"), AccountId("acct_1"), "x", 500, "USD", "d")
SINCE, UNTIL = datetime(1971, 1, 1), datetime(2999, 1, 1)  # noqa: DTZ001
STATES = sorted({PayoutState.SUBMITTING, PayoutState.SUBMITTED, PayoutState.UNKNOWN})


def facts(state: PayoutState, *, age: float = 0, calls: int = 1) -> Facts:
    return Facts(state, age, age, calls, 1)


@given(st.datetimes(min_value=SINCE, max_value=UNTIL))
def test_every_moment_lies_in_the_span_of_its_period(naive: datetime) -> None:
    at = naive.replace(tzinfo=UTC)
    for every in Every:
        name = core.period_of(at, every)
        span = core.span_of(name)
        assert span.since <= at < span.until
        assert core.period_of(span.since, every) == name != core.period_of(span.until, every)


@given(st.sampled_from(STATES), st.sampled_from(list(PaymentSight)), st.floats(0, 1e7))
def test_only_the_processors_word_settles_and_only_the_unsure_is_repeated(
    state: PayoutState, seen: PaymentSight, age: float
) -> None:
    step = core.judge(facts(state, age=age), Sight(seen), ORDER, 3600)
    assert (step.event is PayoutEvent.PAY) == (seen is PaymentSight.PAID)
    assert (step.event is PayoutEvent.FAIL) == (seen is PaymentSight.FAILED)
    may = state is PayoutState.SUBMITTING and seen is PaymentSight.ABSENT and age < 3600
    assert step.pay == may
    assert step.event is None or PAYOUT.can(state, step.event)
    over = step.event in (PayoutEvent.PAY, PayoutEvent.FAIL)
    assert over == (step.again_seconds is None)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("word", [PaymentSight.PAID, PaymentSight.FAILED])
def test_another_amount_or_currency_settles_nothing(state: PayoutState, word: PaymentSight) -> None:
    for sight in (Sight(word, amount_minor=499), Sight(word, currency="EUR")):
        step = core.judge(facts(state), sight, ORDER, None)
        assert step.event in (None, PayoutEvent.LOSE)
        assert "not clear" in step.reason


def test_a_refusal_after_an_unseen_call_is_no_proof() -> None:
    assert core.declined(facts(PayoutState.SUBMITTING), "no").event is PayoutEvent.FAIL
    assert core.declined(facts(PayoutState.SUBMITTING, calls=2), "no").event is None


def test_money_is_under_way_in_every_state_that_is_not_the_end() -> None:
    assert set(PayoutState) - UNDER_WAY == PAYOUT.terminal()


@given(st.integers(1, 10**15), st.integers(1, 10**12), st.sampled_from([("UGX", 0), ("EUR", 2)]))
def test_what_is_sent_never_costs_more_than_is_owed(
    owed: int, rate: int, currency: tuple[str, int]
) -> None:
    name, decimals = currency
    found = CurrencyRate(name, rate, decimals, "v")
    minor = found.minor_of(Money(owed))
    assert found.money_of(minor) <= Money(owed) < found.money_of(minor + 1) + Money(1)
    assert amount_minor(amount_text(minor, name), name) == minor


def test_references_are_version_4_and_always_the_same() -> None:
    one = reference_of("payout_1")
    assert (one, one[14]) == (reference_of("payout_1"), "4")
    assert one != reference_of("payout_2")


def test_notes_have_nothing_that_momo_turns_away() -> None:
    assert note("Ganglion's credit, $22.00 <é>") == "Ganglion s credit, 22.00"
    assert len(note("x" * 500)) == 160
