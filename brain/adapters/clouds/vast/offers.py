"""Vast.ai's market: what to search for, and its rows as offers. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal

from brain.adapters.clouds.fields import amount, nano, ppm, text, whole
from brain.adapters.clouds.gpus import gpu
from brain.clouds import CloudOffer

CLOUD = "vast"
ROWS_MAX = 3000
SPOT_KEY = ":bid"
# Storage and traffic are told per GB, and storage by the month of 30 days; ours are per GiB.
GIB_IN_GB = Decimal("1.073741824")
MONTH_HOURS = 30 * 24
DATA_CENTRE = 1  # of hosting_type
# With an older driver the engines' images do not start; with a slower line no model ever arrives.
CUDA_MIN = 12.8
DOWN_MBPS_MIN = 100
DOLLARS_HOUR_MAX = 1000  # per GPU; more is a mistake or a lie


def search(*, spot: bool, disk_gib: int) -> dict[str, object]:
    """The body that asks for all machines for rent now: on demand, or against a bid."""
    return {
        "verified": {"eq": True},
        "external": {"eq": False},
        "rentable": {"eq": True},
        "rented": {"eq": False},
        "cuda_max_good": {"gte": CUDA_MIN},
        "inet_down": {"gte": DOWN_MBPS_MIN},
        "order": [["dph_total", "asc"]],
        "type": "bid" if spot else "on-demand",
        "limit": ROWS_MAX,
        "allocated_storage": disk_gib,
    }


def offers_of(rows: Iterable[object], *, spot: bool) -> list[CloudOffer]:
    """Rows that cannot be read, or whose price cannot be true, are left out."""
    read = (offer_of(row, spot=spot) for row in rows if isinstance(row, Mapping))
    return [offer for offer in read if offer is not None]


def offer_of(row: Mapping[str, object], *, spot: bool) -> CloudOffer | None:
    """One row as an offer; the price is of each GPU, without its disk."""
    ask, gpus, said = whole(row, "id"), whole(row, "num_gpus"), text(row, "gpu_name")
    price = amount(row, "min_bid" if spot else "dph_base")
    if not ask or not gpus or not said or price is None:
        return None
    if row.get("rentable") is False or row.get("rented") is True:
        return None
    if not 0 < price <= DOLLARS_HOUR_MAX * gpus:
        return None
    card = gpu(said, whole(row, "gpu_ram") or 0)
    disk = amount(row, "disk_space")
    lasts = amount(row, "duration")
    return CloudOffer(
        cloud=CLOUD,
        key=f"{ask}{SPOT_KEY if spot else ''}",
        gpu_name=card.name,
        gpus=gpus,
        vram_mib=card.vram_mib,
        price_nano=nano(price / gpus),
        region=region_of(row),
        host=str(whole(row, "machine_id") or ""),
        spot=spot,
        secure=row.get("datacenter") is True or whole(row, "hosting_type") == DATA_CENTRE,
        free=1,
        reliability_ppm=ppm(amount(row, "reliability2") or amount(row, "reliability")),
        storage_nano_gib_hour=_gib_price(amount(row, "storage_cost"), MONTH_HOURS),
        egress_nano_gib=_gib_price(amount(row, "inet_up_cost"), 1),
        disk_gib_max=None if disk is None else max(0, int(disk / GIB_IN_GB)),
        seconds_max=None if lasts is None else max(0, int(lasts)),
    )


def region_of(row: Mapping[str, object]) -> str:
    """The country's code, which stands last: "Texas, US", or "US" alone."""
    return text(row, "geolocation").rsplit(",", 1)[-1].strip().upper()[:60]


def ask_of(key: str) -> int:
    """The ask that an offer's key names; raises ``ValueError`` for another cloud's key."""
    return int(key.removesuffix(SPOT_KEY))


def _gib_price(dollars_gb: Decimal | None, hours: int) -> int:
    if dollars_gb is None or dollars_gb <= 0:
        return 0
    return nano(dollars_gb * GIB_IN_GB / hours)
