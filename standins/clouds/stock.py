"""What an emulated cloud has to rent: kinds of machine with price, place and capacity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

STOCKS_MAX = 20_000


@dataclass(frozen=True, slots=True)
class Stock:
    """Machines of one kind in one place. ``capacity`` counts GPUs: a machine takes some of them.

    ``gpu_name`` is the cloud's own spelling. Prices are nano-dollars per GPU-hour and may be odd
    where a fault asks for it. ``bid_nano`` is the least bid for a spot machine; None: no spot.
    ``extra`` holds what one cloud alone tells (a data centre's id, a driver's version).
    """

    key: str
    gpu_name: str
    capacity: int
    price_nano: int
    gpus: int = 8  # the most in one machine, or exactly that many where a cloud sells only wholes
    bid_nano: int | None = None
    vram_mib: int = 24_576
    region: str = ""
    host: str = ""
    secure: bool = True
    vcpus: int = 16
    ram_gib: int = 64
    disk_gib: int = 500
    storage_nano_gib_hour: int = 0
    egress_nano_gib: int = 0
    reliability_ppm: int | None = None
    boot_seconds: float | None = None  # None: as the cloud's rules say
    extra: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shelf:
    """One stock as the cloud shows it now: ``free`` GPUs are not taken by anybody."""

    stock: Stock
    free: int


_TEXTS = ("key", "gpu_name", "region", "host")
_WHOLE = ("capacity", "price_nano", "gpus", "vram_mib", "vcpus", "ram_gib", "disk_gib")
_WHOLE_TOO = ("storage_nano_gib_hour", "egress_nano_gib")
_WHOLE_OR_NONE = ("bid_nano", "reliability_ppm")


def read_stocks(given: object) -> tuple[Stock, ...]:
    """A list of objects with the fields of ``Stock``; ``ValueError`` says what is wrong."""
    if not isinstance(given, list) or len(given) > STOCKS_MAX:
        raise ValueError(f"a stock is a list of at most {STOCKS_MAX} objects")
    stocks = tuple(_read(item) for item in given)
    if len({stock.key for stock in stocks}) != len(stocks):
        raise ValueError("two stocks have the same key")
    return stocks


def _read(item: object) -> Stock:
    if not isinstance(item, dict):
        raise ValueError("a stock is an object such as {'key': 'a', 'gpu_name': 'L4', ...}")
    known = {one.name for one in fields(Stock)}
    unknown = sorted(str(name) for name in item if name not in known)
    missing = {"key", "gpu_name", "capacity", "price_nano"} - set(item)
    if unknown or missing:
        raise ValueError(f"unknown: {unknown}, missing: {sorted(missing)}")
    for name in _TEXTS:
        if not isinstance(item.get(name, ""), str):
            raise ValueError(f"{name} is a text")
    for name in (*_WHOLE, *_WHOLE_TOO, *_WHOLE_OR_NONE):
        value = item.get(name, 0)
        if type(value) is not int and not (value is None and name in _WHOLE_OR_NONE):
            raise ValueError(f"{name} is a whole number")
    boot = item.get("boot_seconds")
    if isinstance(boot, bool) or not isinstance(boot, int | float | None):
        raise ValueError("boot_seconds is a number")
    if item["capacity"] < 0 or item.get("gpus", 1) < 1:
        raise ValueError("capacity is 0 or more, gpus 1 or more")
    return Stock(**item)
