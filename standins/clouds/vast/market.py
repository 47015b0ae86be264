"""Searching: the asks of every host, and Vast.ai's query language over their rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

from kernel.clock import NS
from standins.clouds.shell import Answer, as_json
from standins.clouds.stock import Shelf, Stock
from standins.clouds.vast.desk import GIB_IN_GB, MONTH_HOURS, Call, Desk, bad, dollars

ALLOCATED_GIB = 5.0
LIMIT_DEFAULT = 64
RENTAL_DAYS_MAX = 30
SIZES = (1, 2, 4, 8, 16)
RESERVED = frozenset(
    {"order", "type", "limit", "allocated_storage", "disable_bundling", "select_cols"}
)
TYPES = {"on-demand", "ondemand", "bid", "interruptible", "reserved"}
BIDS = {"bid", "interruptible"}


@dataclass(frozen=True, slots=True)
class Ask:
    """So many GPUs of one host, for rent as one machine."""

    number: int
    stock: Stock
    gpus: int


def asks(shelves: Iterable[Shelf]) -> dict[int, Ask]:
    """What can be rented now. An ask keeps its number for as long as its host has it."""
    found = {}
    for shelf in shelves:
        for size in {*SIZES, shelf.stock.gpus}:
            if size <= min(shelf.free, shelf.stock.gpus):
                number = ask_number(shelf.stock.key, size)
                found[number] = Ask(number, shelf.stock, size)
    return found


def ask_number(key: str, gpus: int) -> int:
    digest = blake2b(f"{key}/{gpus}".encode(), digest_size=5).digest()
    return 10_000_000 + int.from_bytes(digest)


def ever_asked(desk: Desk, number: int) -> bool:
    """Whether such an ask is of a host that is known, free or not."""
    stocks = desk.world.stocks.values()
    return any(ask_number(one.key, size) == number for one in stocks for size in (*SIZES, one.gpus))


def search(desk: Desk, call: Call) -> Answer:
    """POST /bundles/, and PUT /search/asks/ with the query under ``q``."""
    desk.count_search()
    query = call.body.get("q", call.body)
    if not isinstance(query, dict):
        raise bad("q must be an object")
    return as_json({"success": True, "offers": found(desk, query)})


def found(desk: Desk, query: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows that a query asks for, in its order."""
    kind = query.get("type", "on-demand")
    if kind not in TYPES:
        raise bad(f"unknown type: {kind!r:.60}")
    stored = number_of(query.get("allocated_storage", ALLOCATED_GIB))
    if stored is None:
        raise bad("allocated_storage must be a number")
    bid = kind in BIDS
    rows = [
        ask_row(desk, ask, stored=stored, bid=bid)
        for ask in asks(desk.world.shelves()).values()
        if not bid or ask.stock.bid_nano is not None
    ]
    rows = [row for row in rows if fits(row, query)]
    sort(rows, query.get("order") or [["score", "desc"]])
    limit = number_of(query.get("limit")) or LIMIT_DEFAULT
    return rows[: max(int(limit), 0)]


def ask_row(desk: Desk, ask: Ask, *, stored: float, bid: bool) -> dict[str, Any]:
    """One ask as the search shows it; ``dph_total`` has the disk that was asked for in it."""
    stock, gpus = ask.stock, ask.gpus
    least = None if stock.bid_nano is None else dollars(stock.bid_nano * gpus)
    base = least if bid and least is not None else dollars(stock.price_nano * gpus)
    storage = dollars(stock.storage_nano_gib_hour) * MONTH_HOURS / GIB_IN_GB
    total = base + storage * stored / MONTH_HOURS
    now = desk.world.now_ns
    lasts = RENTAL_DAYS_MAX * 86_400.0
    power = 90.0 * gpus
    shown = {
        "id": ask.number,
        "ask_contract_id": ask.number,
        "bundle_id": ask.number,
        "is_bid": bid,
        "rentable": True,
        "rented": False,
        "num_gpus": gpus,
        "gpu_frac": gpus / max(stock.capacity, gpus),
        "gpu_total_ram": stock.vram_mib * gpus,
        "cpu_cores_effective": stock.vcpus * gpus / max(stock.capacity, 1),
        "dph_base": base,
        "dph_total": total,
        "discounted_dph_total": total,
        "min_bid": least,
        "storage_total_cost": storage * stored / MONTH_HOURS,
        "dlperf": power,
        "dlperf_per_dphtotal": power / total if total > 0 else None,
        "flops_per_dphtotal": power / total if total > 0 else None,
        "score": power / total if total > 0 else 0.0,
        "total_flops": 80.0 * gpus,
        "duration": lasts,
        "start_date": desk.seconds(now),
        "end_date": desk.seconds(now + round(lasts * NS)),
    }
    return host_row(stock) | shown


def host_row(stock: Stock) -> dict[str, Any]:
    """What a machine's host tells, in offers and instances alike."""
    number = int(stock.host) if stock.host.isdigit() else ask_number(stock.host or stock.key, 0)
    reliable = None if stock.reliability_ppm is None else stock.reliability_ppm / 1_000_000
    traffic = dollars(stock.egress_nano_gib) / GIB_IN_GB
    row = {
        "machine_id": number,
        "host_id": number + 5_000_000,
        "gpu_name": stock.gpu_name,
        "gpu_ram": stock.vram_mib,
        "gpu_arch": "nvidia",
        "gpu_lanes": 16,
        "gpu_mem_bw": 900.0,
        "gpu_display_active": False,
        "compute_cap": 890,
        "cuda_max_good": 13.0,
        "driver_version": "580.95.05",
        "driver_vers": 580095005,
        "cpu_name": "emulated",
        "cpu_arch": "amd64",
        "cpu_cores": stock.vcpus,
        "cpu_ghz": 3.2,
        "cpu_ram": stock.ram_gib * 1024,
        "has_avx": 1,
        "mobo_name": "emulated",
        "os_version": "24.04",
        "pci_gen": 4.0,
        "pcie_bw": 22.1,
        "bw_nvlink": 0.0,
        "disk_space": round(stock.disk_gib * GIB_IN_GB, 1),
        "disk_bw": 3200.0,
        "disk_name": "nvme",
        "storage_cost": round(dollars(stock.storage_nano_gib_hour) * MONTH_HOURS / GIB_IN_GB, 9),
        "inet_up": 940.0,
        "inet_down": 940.0,
        "inet_up_cost": round(traffic, 9),
        "inet_down_cost": round(traffic, 9),
        "direct_port_count": 250,
        "static_ip": True,
        "public_ipaddr": "127.0.0.1",
        "geolocation": stock.region or None,
        "datacenter": stock.secure,
        "hosting_type": 1 if stock.secure else 0,
        "external": False,
        "verified": True,
        "verification": "verified",
        "vericode": 1,
        "reliability": reliable,
        "reliability2": reliable,
        "expected_reliability": reliable,
        "resource_type": "gpu",
        "cluster_id": None,
    }
    return row | dict(stock.extra)


# --- the query language ---------------------------------------------------------------------


def fits(row: Mapping[str, Any], query: Mapping[str, Any]) -> bool:
    """Whether a row passes each condition; a field that a row lacks passes none."""
    for name, conditions in query.items():
        if name in RESERVED:
            continue
        if not isinstance(conditions, dict):
            raise bad(f"{name:.60} must be an object of operators")
        seen = row.get(name)
        for operator, wanted in conditions.items():
            if not _passes(name, seen, operator, wanted):
                return False
    return True


def _passes(name: str, seen: object, operator: str, wanted: object) -> bool:
    if operator in {"in", "notin", "nin"}:
        if not isinstance(wanted, list):
            raise bad(f"{operator} takes a list")
        return any(_same(name, seen, one) for one in wanted) == (operator == "in")
    if operator in {"eq", "neq"}:
        return _same(name, seen, wanted) == (operator == "eq")
    if operator not in {"gt", "gte", "lt", "lte"}:
        raise bad(f"unknown operator: {operator:.40}")
    left, right = number_of(seen), number_of(wanted)
    if left is None or right is None:
        return False
    if operator in {"gt", "lt"}:
        return left > right if operator == "gt" else left < right
    return left >= right if operator == "gte" else left <= right


def _same(name: str, seen: object, wanted: object) -> bool:
    """Values travel as text, and a place is asked for by its country's code."""
    if isinstance(seen, bool):
        return seen == (wanted if isinstance(wanted, bool) else str(wanted).lower() == "true")
    left, right = number_of(seen), number_of(wanted)
    if left is not None and right is not None:
        return left == right
    if name == "geolocation" and isinstance(seen, str):
        return wanted in (seen, seen.rpartition(",")[2].strip())
    return seen == wanted


def number_of(value: object) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def sort(rows: list[dict[str, Any]], order: object) -> None:
    """By [[field, "asc"|"desc"], …] or [{"col", "dir"}, …]; rows without the field come last."""
    if not isinstance(order, list):
        raise bad("order must be a list")
    for given in reversed(order):
        one = [given.get("col"), given.get("dir", "asc")] if isinstance(given, dict) else given
        if not (isinstance(one, list) and len(one) == 2 and one[1] in ("asc", "desc")):
            raise bad("an order is a field and asc or desc")
        name, falling = str(one[0]), one[1] == "desc"
        sign = -1 if falling else 1

        def place(row: dict[str, Any], name: str = name, sign: int = sign) -> tuple[bool, float]:
            value = number_of(row.get(name))
            return (value is None, sign * (value or 0.0))

        rows.sort(key=place)
