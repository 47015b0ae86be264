"""What the RunPod stand-in tells of its GPUs and data centres, for both of its APIs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kernel.money import NANO
from standins.clouds.stock import Shelf, Stock

Fields = dict[str, Any]
Wanted = Callable[[Shelf], bool]
LEVELS = ((32, "HIGH"), (8, "MEDIUM"), (1, "LOW"))  # free GPUs and more


def dollars(nano: int) -> float:
    return nano / NANO


def country(stock: Stock) -> str:
    return str(stock.extra.get("country", ""))


def level(shelves: Sequence[Shelf], count: int) -> str:
    """How likely so many GPUs in one machine are to be had: NONE, LOW, MEDIUM or HIGH."""
    free = sum(shelf.free for shelf in shelves if shelf.free >= count)
    return next((name for least, name in LEVELS if free >= least), "NONE")


@dataclass(frozen=True, slots=True)
class GpuType:
    """All stocks of one kind of GPU."""

    gpu_id: str
    shelves: tuple[Shelf, ...]

    @property
    def stock(self) -> Stock:
        return self.shelves[0].stock

    @property
    def name(self) -> str:
        return str(self.stock.extra.get("name", self.gpu_id))

    @property
    def memory_gb(self) -> int:
        return int(self.stock.extra.get("memory_gb", round(self.stock.vram_mib / 1024)))

    @property
    def manufacturer(self) -> str:
        return {"NVIDIA": "NVIDIA", "AMD": "AMD"}.get(self.gpu_id.split(" ")[0].upper(), "UNKNOWN")

    def of(self, *, secure: bool) -> tuple[Shelf, ...]:
        return tuple(shelf for shelf in self.shelves if shelf.stock.secure == secure)

    def price(self, *, secure: bool) -> float:
        """Of one GPU; 0 where this cloud does not have it."""
        prices = [shelf.stock.price_nano for shelf in self.of(secure=secure)]
        return dollars(min(prices, default=0))

    def bid(self, *, secure: bool) -> float | None:
        bids = [one.stock.bid_nano for one in self.of(secure=secure)]
        known = [bid for bid in bids if bid is not None]
        return dollars(min(known)) if known else None

    def count_max(self, *, secure: bool) -> int:
        return max((shelf.stock.gpus for shelf in self.of(secure=secure)), default=0)


def gpu_types(shelves: Sequence[Shelf]) -> list[GpuType]:
    kinds: dict[str, list[Shelf]] = {}
    for shelf in shelves:
        if shelf.stock.gpu_name:
            kinds.setdefault(shelf.stock.gpu_name, []).append(shelf)
    return [GpuType(gpu_id, tuple(found)) for gpu_id, found in kinds.items()]


def rest_gpu(kind: GpuType) -> Fields:
    """One GPU type of ``/v2/catalog/gpus``, without its availability."""
    return {
        "id": kind.gpu_id,
        "name": kind.name,
        "pool": kind.stock.extra.get("pool"),
        "manufacturer": kind.manufacturer,
        "memory": kind.memory_gb,
        "secure": bool(kind.of(secure=True)),
        "community": bool(kind.of(secure=False)),
        "price": {"secure": kind.price(secure=True), "community": kind.price(secure=False)},
        "maxCount": {
            "secure": kind.count_max(secure=True),
            "community": kind.count_max(secure=False),
        },
    }


def rest_availability(shelves: Sequence[Shelf], count: int) -> Fields:
    """The fields that ``include=AVAILABILITY`` adds; centres are left out where none has any."""
    centers: dict[str, list[Shelf]] = {}
    for shelf in shelves:
        if shelf.stock.region:
            centers.setdefault(shelf.stock.region, []).append(shelf)
    told: Fields = {"availability": level(shelves, count)}
    listed = [{"id": key, "availability": level(found, count)} for key, found in centers.items()]
    if any(center["availability"] != "NONE" for center in listed):
        told["dataCenters"] = listed
    versions = sorted(
        {str(one.stock.extra["cuda"]) for one in shelves if "cuda" in one.stock.extra}
    )
    told["cudaVersions"] = [{"version": one, "available": True} for one in versions]
    return told


REGIONS = {"US": "NORTH_AMERICA", "CA": "NORTH_AMERICA", "RO": "EUROPE", "IS": "EUROPE"}


def rest_centers(shelves: Sequence[Shelf], *, gpus: bool, cpus: bool) -> list[Fields]:
    """``/v2/catalog/datacenters``."""
    centers: dict[str, list[Shelf]] = {}
    for shelf in shelves:
        if shelf.stock.region:
            centers.setdefault(shelf.stock.region, []).append(shelf)
    told = []
    for center, found in sorted(centers.items()):
        fields: Fields = {
            "id": center,
            "name": center,
            "region": REGIONS.get(country(found[0].stock), "UNKNOWN"),
            "globalNetwork": True,
            "networkVolumeTypes": ["STANDARD"],
            "compliance": [],
        }
        if gpus:
            fields["gpuAvailability"] = [
                {"id": one.stock.gpu_name, "availability": level([one], 1)}
                for one in found
                if one.stock.gpu_name
            ]
        if cpus:
            fields["cpuAvailability"] = [
                {"id": one.stock.extra["flavor"], "availability": level([one], 2)}
                for one in found
                if "flavor" in one.stock.extra
            ]
        told.append(fields)
    return told


def rest_cpus(shelves: Sequence[Shelf]) -> list[Fields]:
    """``/v2/catalog/cpus``."""
    return [
        {
            "id": shelf.stock.extra["flavor"],
            "name": shelf.stock.extra["name"],
            "vcpu": {"min": 2, "max": shelf.stock.gpus},
            "ramGbPerVcpu": shelf.stock.ram_gib,
            "price": {
                "securePerVcpu": dollars(shelf.stock.price_nano),
                "serverlessPerVcpu": dollars(shelf.stock.price_nano),
            },
        }
        for shelf in shelves
        if "flavor" in shelf.stock.extra
    ]
