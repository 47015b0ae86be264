"""What the RunPod stand-in rents out where nobody says otherwise. The figures are of 2026."""

from __future__ import annotations

from standins.clouds.stock import Stock

CENT_NANO = 10_000_000
HOURS_A_MONTH = 730
DISK_NANO_GIB_HOUR = 10 * CENT_NANO // HOURS_A_MONTH  # $0.10 a GB-month
SECURE = {"US-TX-3": "US", "EU-RO-1": "RO", "US-KS-2": "US", "EUR-IS-1": "IS", "CA-MTL-3": "CA"}

# id, name, pool, GB, MiB as the driver tells, secure and community price in cents (0: not there)
_GPUS = (
    ("NVIDIA GeForce RTX 3090", "RTX 3090", "AMPERE_24", 24, 24_576, 46, 22),
    ("NVIDIA GeForce RTX 4090", "RTX 4090", "ADA_24", 24, 24_564, 69, 34),
    ("NVIDIA L4", "L4", "AMPERE_24", 24, 23_034, 39, 0),
    ("NVIDIA RTX A6000", "RTX A6000", "AMPERE_48", 48, 49_140, 49, 33),
    ("NVIDIA L40S", "L40S", "ADA_48_PRO", 48, 46_068, 86, 79),
    ("NVIDIA A100 80GB PCIe", "A100 PCIe", "AMPERE_80", 80, 81_920, 164, 119),
    ("NVIDIA A100-SXM4-80GB", "A100 SXM", "AMPERE_80", 80, 81_920, 179, 139),
    ("NVIDIA H100 80GB HBM3", "H100 SXM", "ADA_80_PRO", 80, 81_559, 399, 269),
    ("NVIDIA H200", "H200 SXM", "HOPPER_141", 141, 143_771, 439, 0),
    ("NVIDIA B200", "B200", "BLACKWELL_180", 180, 183_359, 589, 0),
)
_CPUS = (("cpu3c", "Compute-Optimized", 2, 3), ("cpu5c", "Compute-Optimized, 5 GHz", 2, 4))


def _gpus() -> list[Stock]:
    stocks = []
    for place, (gpu, name, pool, size, mib, secure, community) in enumerate(_GPUS):
        tells = {"name": name, "pool": pool, "memory_gb": size, "cuda": "12.8"}
        for number, (center, country) in enumerate(SECURE.items()):
            if secure and (place + number) % 2 == 0:
                stocks.append(_stock(f"{gpu}@{center}", gpu, secure, center, country, mib, tells))
        if community:
            key = f"{gpu}@COMMUNITY-US"
            stocks.append(_stock(key, gpu, community, "", "US", mib, tells))
    return stocks


def _stock(
    key: str,
    gpu: str,
    cents: int,
    center: str,
    country: str,
    mib: int,
    tells: dict[str, object],
) -> Stock:
    return Stock(
        key,
        gpu,
        capacity=32 if center else 8,
        price_nano=cents * CENT_NANO,
        bid_nano=cents * CENT_NANO // 2,
        vram_mib=mib,
        region=center,
        secure=bool(center),
        vcpus=16,
        ram_gib=117,
        storage_nano_gib_hour=DISK_NANO_GIB_HOUR,
        extra={**tells, "country": country},
    )


def _cpus() -> list[Stock]:
    """Stocks without a GPU: their capacity and price are of virtual processors."""
    return [
        Stock(
            f"{flavor}@EU-RO-1",
            "",
            capacity=256,
            price_nano=cents * CENT_NANO,
            gpus=32,
            vram_mib=0,
            region="EU-RO-1",
            ram_gib=ram,
            storage_nano_gib_hour=DISK_NANO_GIB_HOUR,
            extra={"flavor": flavor, "name": name, "country": "RO"},
        )
        for flavor, name, ram, cents in _CPUS
    ]


STOCKS = (*_gpus(), *_cpus())
