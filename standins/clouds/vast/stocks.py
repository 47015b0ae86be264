"""The market that the emulated Vast.ai has when none is given, and how its machines behave."""

from __future__ import annotations

import random

from kernel.money import NANO
from standins.clouds.machine import State
from standins.clouds.rules import Rules
from standins.clouds.stock import Stock

# The GPU is billed while it runs, the disk until the machine is destroyed; credit is prepaid.
RULES = Rules(balance_nano=100_000 * NANO, gpu_billed=frozenset({State.RUNNING}))
STORAGE_NANO = 150_000  # about 0.10 $ per GB and month


def new_id(chance: random.Random) -> str:
    return str(chance.randrange(10_000_000, 99_999_999))


def _host(
    host: int, gpu: str, mib: int, gpus: int, dollars: float, country: str, *, secure: bool = False
) -> Stock:
    """One host whose GPUs are rented whole or in parts; a bid may be a good half of the price."""
    price = round(dollars * NANO)
    return Stock(
        key=str(host),
        host=str(host),
        gpu_name=gpu,
        vram_mib=mib,
        capacity=gpus,
        gpus=gpus,
        price_nano=price,
        bid_nano=price * 11 // 20,
        region=country,
        secure=secure,
        vcpus=12 * gpus,
        ram_gib=48 * gpus,
        disk_gib=1200,
        storage_nano_gib_hour=STORAGE_NANO,
        egress_nano_gib=0 if secure else 5_000_000,
        reliability_ppm=998_700 if secure else 987_300,
    )


STOCKS = (
    _host(10_001, "RTX 3090", 24_576, 2, 0.17, "Poland, PL"),
    _host(10_002, "RTX 4090", 24_564, 1, 0.31, "Texas, US"),
    _host(10_003, "RTX 4090", 24_564, 4, 0.35, "Sweden, SE"),
    _host(10_004, "RTX 4090", 24_564, 8, 0.39, "California, US", secure=True),
    _host(10_005, "RTX 5090", 32_607, 4, 0.55, "Germany, DE"),
    _host(10_006, "RTX A6000", 49_140, 4, 0.47, "Czechia, CZ"),
    _host(10_007, "L40S", 46_068, 8, 0.68, "Iceland, IS", secure=True),
    _host(10_008, "A100 SXM4", 81_920, 8, 1.04, "Massachusetts, US", secure=True),
    _host(10_009, "H100 SXM", 81_559, 8, 1.93, "Norway, NO", secure=True),
    _host(10_010, "H200", 143_771, 8, 2.49, "Japan, JP", secure=True),
    _host(10_011, "RTX 3060", 12_288, 2, 0.06, "Bulgaria, BG"),
)
