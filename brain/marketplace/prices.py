"""What a node asks until its provider says otherwise: dated rows, newest first that applies.

Nano-dollars per GPU-hour. A name matches when it occurs in the GPU's own name, ignoring case.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

USD = 1_000_000_000


@dataclass(frozen=True)
class DatedPrice:
    since: date
    gpu: str  # part of the name; "" fits every GPU
    price_nano: int


PRICES: tuple[DatedPrice, ...] = (
    DatedPrice(date(2025, 1, 1), "h200", 2_990 * USD // 1000),
    DatedPrice(date(2025, 1, 1), "h100", 2_190 * USD // 1000),
    DatedPrice(date(2025, 1, 1), "a100", 1_190 * USD // 1000),
    DatedPrice(date(2025, 1, 1), "l40s", 790 * USD // 1000),
    DatedPrice(date(2025, 1, 1), "a6000", 490 * USD // 1000),
    DatedPrice(date(2025, 1, 1), "5090", 690 * USD // 1000),
    DatedPrice(date(2025, 1, 1), "4090", 390 * USD // 1000),
    DatedPrice(date(2025, 1, 1), "3090", 220 * USD // 1000),
    DatedPrice(date(2025, 1, 1), "l4", 430 * USD // 1000),
    DatedPrice(date(2025, 1, 1), "t4", 190 * USD // 1000),
    DatedPrice(date(2025, 1, 1), "", 500 * USD // 1000),
)


def default_price_nano(gpu_name: str, on: date) -> int:
    """The price of the first row whose day has come and whose name fits."""
    name = gpu_name.lower()
    dated = sorted(PRICES, key=lambda row: row.since, reverse=True)
    return next(row.price_nano for row in dated if row.since <= on and row.gpu in name)
