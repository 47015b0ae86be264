"""Fields of a cloud's answer, read with suspicion: another type than told is as if absent."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import ROUND_CEILING, Decimal, InvalidOperation

from kernel.money import NANO

TEXT_LENGTH_MAX = 1000
MILLION = 1_000_000
WHOLE_MAX = 2**62
DOLLARS_HOUR_MAX = 100_000  # of a whole machine


def text(row: Mapping[str, object], name: str) -> str:
    value = row.get(name)
    return value.strip()[:TEXT_LENGTH_MAX] if isinstance(value, str) else ""


def amount(row: Mapping[str, object], name: str) -> Decimal | None:
    """A finite number, also one that travels as text. Its decimal digits are taken as they were
    sent; no sum is ever made of floats."""
    value = row.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float | str | Decimal):
        return None
    try:
        number = Decimal(str(value)[:40].strip())
    except InvalidOperation:
        return None
    return number if number.is_finite() and abs(number) < WHOLE_MAX else None


def whole(row: Mapping[str, object], name: str) -> int | None:
    """A whole number; one with a fraction is cut off."""
    number = amount(row, name)
    return None if number is None else int(number)


def nano(dollars: Decimal) -> int:
    """Nano-dollars, rounded up: no cost is made smaller than it is."""
    return int((dollars * NANO).to_integral_value(ROUND_CEILING))


def hourly_nano(dollars: Decimal | None) -> int | None:
    """What a machine is said to cost in an hour; ``None`` where it cannot be true."""
    return nano(dollars) if dollars is not None and 0 <= dollars <= DOLLARS_HOUR_MAX else None


def ppm(share: Decimal | None) -> int | None:
    """Parts per million of a share between 0 and 1; ``None`` where it is no share."""
    return int(share * MILLION) if share is not None and 0 <= share <= 1 else None
