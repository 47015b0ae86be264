"""Lambda's instance types as offers: one for each region that has capacity. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from decimal import Decimal

from brain.adapters.clouds.fields import amount, nano, text, whole
from brain.adapters.clouds.gpus import Gpu, gpu
from brain.clouds import CloudOffer

CLOUD = "lambda"
CENTS = 100
DOLLARS_HOUR_MAX = 1000  # per GPU; more is a mistake or a lie
_COUNT = re.compile(r"\A\s*\d+x\s+")


def offers_of(types: Mapping[str, object]) -> list[CloudOffer]:
    """Types without a GPU, a price or a free region offer nothing."""
    found = []
    for item in types.values():
        if isinstance(item, Mapping):
            found += _offers_of_type(item)
    return found


def _offers_of_type(item: Mapping[str, object]) -> list[CloudOffer]:
    kind, regions = item.get("instance_type"), item.get("regions_with_capacity_available")
    if not isinstance(kind, Mapping) or not isinstance(regions, list):
        return []
    name, gpus, price = text(kind, "name"), gpus_of(kind), price_of(kind)
    if not name or not gpus or price is None or not 0 < price <= DOLLARS_HOUR_MAX * gpus:
        return []
    card = gpu_of(kind)
    specs = kind.get("specs")
    disk = (whole(specs, "storage_gib") if isinstance(specs, Mapping) else 0) or 0
    return [
        CloudOffer(
            cloud=CLOUD,
            key=key_of(name, region),
            gpu_name=card.name,
            gpus=gpus,
            vram_mib=card.vram_mib,
            price_nano=nano(price / gpus),
            region=region,
            disk_gib_max=disk or None,
            disk_gib_included=disk,
        )
        for region in sorted({text(one, "name") for one in regions if isinstance(one, Mapping)})
        if region
    ]


def gpus_of(kind: Mapping[str, object]) -> int:
    specs = kind.get("specs")
    return (whole(specs, "gpus") if isinstance(specs, Mapping) else 0) or 0


def price_of(kind: Mapping[str, object]) -> Decimal | None:
    """Dollars an hour for the whole instance, which is told in cents."""
    cents = amount(kind, "price_cents_per_hour")
    return None if cents is None else cents / CENTS


def gpu_of(kind: Mapping[str, object]) -> Gpu:
    """``gpu_description`` is "H100 (80 GB SXM5)"; ``description`` has "8x " before the same."""
    return gpu(_COUNT.sub("", text(kind, "gpu_description") or text(kind, "description")))


def key_of(type_name: str, region: str) -> str:
    return f"{type_name}@{region}"


def place_of(key: str) -> tuple[str, str]:
    """The type's name and the region's that a key names; ``ValueError`` for another's key."""
    name, at, region = key.partition("@")
    if not (name and at and region):
        raise ValueError("not a key of this cloud's offers")
    return name, region
