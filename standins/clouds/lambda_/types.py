"""Instance types: the only place where capacity is told, and late."""

from __future__ import annotations

from typing import Any

from kernel.clock import NS
from kernel.money import NANO
from standins.clouds.lambda_.desk import Call, Desk, region, told
from standins.clouds.shell import Answer
from standins.clouds.stock import Shelf, Stock

CAPACITY_LAG_SECONDS = 2.0


def type_name(stock: Stock) -> str:
    """A stock is one type in one region: its key is "type@region"."""
    return stock.key.partition("@")[0]


def instance_type(stock: Stock) -> dict[str, Any]:
    """The price is for the whole instance, in cents."""
    cents = stock.extra.get("price_cents_per_hour")
    if cents is None or stock.price_nano * stock.gpus // (NANO // 100) != cents:
        cents = -(-stock.price_nano * stock.gpus * 100 // NANO)
    return {
        "name": type_name(stock),
        "description": f"{stock.gpus}x {stock.gpu_name}",
        "gpu_description": stock.gpu_name,
        "price_cents_per_hour": cents,
        "specs": {
            "vcpus": stock.vcpus,
            "memory_gib": stock.ram_gib,
            "storage_gib": stock.disk_gib,
            "gpus": stock.gpus,
        },
    }


def list_types(desk: Desk, call: Call) -> Answer:
    """A map by name; types without capacity are told with no region."""
    shelves = desk.world.shelves()
    free = _free(desk, shelves)
    shown: dict[str, dict[str, Any]] = {}
    for shelf in shelves:
        stock = shelf.stock
        kind = shown.setdefault(
            type_name(stock),
            {"instance_type": instance_type(stock), "regions_with_capacity_available": []},
        )
        if stock.key in free:
            kind["regions_with_capacity_available"].append(region(stock.region or "us-west-1"))
    return told(shown)


def _free(desk: Desk, shelves: list[Shelf]) -> frozenset[str]:
    """The stocks that had room when it was last looked at."""
    now = desk.world.now_ns
    lag_ns = round(desk.capacity_lag_seconds * NS)
    if desk.capacity is None or now >= desk.capacity[0] + lag_ns:
        has_room = (one.stock.key for one in shelves if one.free >= one.stock.gpus)
        desk.capacity = (now, frozenset(has_room))
    return desk.capacity[1]
