"""What the emulated Lambda rents when nothing is given, and how its machines behave."""

from __future__ import annotations

import random

from kernel.money import NANO
from standins.clouds.machine import State
from standins.clouds.rules import Rules
from standins.clouds.stock import Stock

CENT_NANO = NANO // 100
# Billed from the boot to the end, also while it is unhealthy; an ended one is told for a moment.
# A new one is listed at once: the generated client looks for it there right after the launch.
RULES = Rules(
    listing_lag_seconds=0.0,
    linger_seconds=3.0,
    gpu_billed=frozenset({State.BOOTING, State.RUNNING, State.FAILED, State.TERMINATING}),
)


def new_id(chance: random.Random) -> str:
    return f"{chance.getrandbits(128):032x}"


def _kind(
    name: str, gpu: str, mib: int, gpus: int, cents: int, regions: dict[str, int], disk_gib: int
) -> list[Stock]:
    """One instance type: ``cents`` for the whole, so many machines free in each region."""
    return [
        Stock(
            key=f"{name}@{region}",
            gpu_name=gpu,
            capacity=machines * gpus,
            gpus=gpus,
            price_nano=cents * CENT_NANO // gpus,
            vram_mib=mib,
            region=region,
            vcpus=26 * gpus,
            ram_gib=225 * gpus,
            disk_gib=disk_gib,
            extra={"price_cents_per_hour": cents},
        )
        for region, machines in regions.items()
    ]


STOCKS: tuple[Stock, ...] = (
    *_kind("gpu_1x_a10", "A10 (24 GB PCIe)", 23_028, 1, 75, {"us-west-1": 4, "us-east-1": 2}, 1400),
    *_kind("gpu_1x_a100_sxm4", "A100 (40 GB SXM4)", 40_960, 1, 199, {"us-south-1": 3}, 512),
    *_kind("gpu_8x_a100_80gb_sxm4", "A100 (80 GB SXM4)", 81_920, 8, 2232, {"us-east-1": 1}, 20480),
    *_kind("gpu_1x_h100_pcie", "H100 (80 GB PCIe)", 81_559, 1, 329, {"us-west-3": 3}, 1024),
    *_kind("gpu_1x_h100_sxm5", "H100 (80 GB SXM5)", 81_559, 1, 429, {"us-south-2": 2}, 2816),
    *_kind(
        "gpu_8x_h100_sxm5",
        "H100 (80 GB SXM5)",
        81_559,
        8,
        3192,
        {"us-south-2": 1, "europe-central-1": 1},
        22528,
    ),
    *_kind("gpu_1x_gh200", "GH200 (96 GB)", 97_871, 1, 199, {"us-east-3": 2}, 4096),
    *_kind("gpu_8x_b200_sxm6", "B200 (180 GB SXM6)", 183_359, 8, 5352, {"us-midwest-1": 0}, 22528),
)
