"""METERING law 7 and the shapes of money."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kernel.errors import BadInput
from kernel.money import CARRY_DIVISOR, HOUR_NS, TICKS_PER_GPU_NS, CreditPrice, HourlyRate, Money
from tests.support.cases import cases

pytestmark = pytest.mark.feature("G1")
RATE = HourlyRate(2_490_000_000)
LAW = settings(max_examples=cases(4000, part=30))


def test_many_small_windows_cost_the_same_as_one() -> None:
    total, carry = Money(0), 0
    for _ in range(3600):
        cost, carry = RATE.charge(seconds=1, carry=carry)
        total += cost
    assert (total, carry) == RATE.charge(seconds=3600)


def test_an_hour_is_3600_seconds_exactly() -> None:
    assert RATE.charge(seconds=3600) == (Money(2_490_000_000), 0)


@LAW
@given(
    st.lists(st.tuples(st.integers(0, 10**13), st.integers(0, 10**24)), max_size=40),
)
def test_law_7_one_carry_over_all_prices_is_exact(uses: list[tuple[int, int]]) -> None:
    charged, carry, exact = 0, 0, 0
    for price, ticks in uses:
        cost, carry = HourlyRate(price).charge_ticks(ticks, carry)
        charged += cost.nano
        exact += price * ticks
        assert 0 <= carry < CARRY_DIVISOR
    assert charged * CARRY_DIVISOR + carry == exact


def test_the_carry_fits_a_bigint() -> None:
    assert CARRY_DIVISOR == HOUR_NS * TICKS_PER_GPU_NS < 2**63


@LAW
@given(st.integers(0, 10**13), st.integers(0, 10**15), st.integers(0, CARRY_DIVISOR - 1))
def test_a_hold_always_covers_the_bill_and_is_the_least_that_does(
    price: int, gpu_ns: int, carry: int
) -> None:
    """Whatever the account carries from before."""
    rate, ticks = HourlyRate(price), gpu_ns * TICKS_PER_GPU_NS
    held = rate.ceiling_for_ns(gpu_ns)
    assert held >= rate.charge_ticks(ticks, carry)[0]
    assert held == rate.charge_ticks(ticks, CARRY_DIVISOR - 1)[0]


@pytest.mark.parametrize(
    ("text", "nano"),
    [("0.0001", 100_000), ("12.5", 12_500_000_000), ("-1", -1_000_000_000), ("0.000000001", 1)],
)
def test_dollars_are_read_exactly(text: str, nano: int) -> None:
    assert Money.usd(text) == Money(nano)


@pytest.mark.parametrize("text", ["", "1e-10", "NaN", "Infinity", "one", "1" * 30, "0x10"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Money.usd(text)


def test_money_is_never_a_float() -> None:
    with pytest.raises(AssertionError):
        Money(1.5)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("nano", "shown"),
    [(0, "$0.00"), (1, "$0.000000001"), (-1_500_000_000, "-$1.50"), (10**15, "$1,000,000.00")],
)
def test_money_is_shown_exactly(nano: int, shown: str) -> None:
    assert str(Money(nano)) == shown


def test_a_credit_is_worth_its_dated_price() -> None:
    price = CreditPrice(100_000)
    assert price.to_money(5000) == Money.usd("0.5")
    assert price.whole_credits(Money.usd("0.50009")) == 5000
