"""Integer money. USD in nano-dollars; a price is nano-dollars per GPU-hour, as the market quotes.

The law (METERING 7): ``charge, carry = divmod(price * g + carry, 3.6e12 * 2**20)`` with ``g`` in
2**-20 GPU-nanoseconds. The divisor does not depend on the price, so an account keeps one carry
over all its prices, and ``sum(charges) * DIVISOR + carry == sum(price * g)`` exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal, InvalidOperation

from kernel.clock import NS
from kernel.errors import BadInput

NANO = 1_000_000_000
TICK_BITS = 20
TICKS_PER_GPU_NS = 1 << TICK_BITS
HOUR_NS = 3600 * NS
CARRY_DIVISOR = HOUR_NS * TICKS_PER_GPU_NS


@dataclass(frozen=True, order=True)
class Money:
    """An amount in integer nano-dollars; may be negative (an entry)."""

    nano: int

    def __post_init__(self) -> None:
        assert type(self.nano) is int, "money is an integer of nano-dollars"

    def __add__(self, other: Money) -> Money:
        return Money(self.nano + other.nano)

    def __sub__(self, other: Money) -> Money:
        return Money(self.nano - other.nano)

    def __neg__(self) -> Money:
        return Money(-self.nano)

    def __bool__(self) -> bool:
        return self.nano != 0

    @classmethod
    def usd(cls, text: str) -> Money:
        """From a decimal text of dollars, such as ``"12.50"``; at most nine decimals."""
        try:
            nano = Decimal(text) * NANO
        except InvalidOperation:
            raise BadInput(f"{text[:40]!r} is not an amount of dollars.") from None
        if not nano.is_finite() or nano != nano.to_integral_value() or abs(nano) >= 2**63:
            raise BadInput(f"{text[:40]!r} is not an amount in whole nano-dollars.")
        return cls(int(nano))

    def __str__(self) -> str:
        """Dollars for people: exact, at least two decimals, no trailing zeros beyond them."""
        sign = "-" if self.nano < 0 else ""
        whole, rest = divmod(abs(self.nano), NANO)
        decimals = f"{rest:09d}".rstrip("0").ljust(2, "0")
        return f"{sign}${whole:,}.{decimals}"


ZERO = Money(0)


@dataclass(frozen=True)
class HourlyRate:
    """A price in nano-dollars per GPU-hour."""

    nano: int

    def charge_ticks(self, ticks: int, carry: int = 0) -> tuple[Money, int]:
        """Charge for ``ticks`` (2**-20 GPU-ns) and the carry to keep, ``0 <= carry < DIVISOR``."""
        assert ticks >= 0, "GPU time is never negative"
        assert 0 <= carry < CARRY_DIVISOR, "carry out of range"
        nano, rest = divmod(self.nano * ticks + carry, CARRY_DIVISOR)
        return Money(nano), rest

    def charge(self, seconds: int, carry: int = 0) -> tuple[Money, int]:
        """The same for whole GPU-seconds."""
        return self.charge_ticks(seconds * NS * TICKS_PER_GPU_NS, carry)

    def ceiling_for_ns(self, gpu_ns: int) -> Money:
        """The least whole nano-dollars that cover ``gpu_ns``: for holds, never for bills."""
        return Money(-(-self.nano * gpu_ns // HOUR_NS))

    def __str__(self) -> str:
        return f"{Money(self.nano)}/GPU-h"


@dataclass(frozen=True)
class CreditPrice:
    """What one credit is worth, in nano-dollars (100,000 at the default of $0.0001)."""

    nano: int

    def to_money(self, credits: int) -> Money:
        return Money(credits * self.nano)

    def whole_credits(self, amount: Money) -> int:
        """Whole credits for display, rounded down (towards debt, when negative)."""
        return amount.nano // self.nano
