"""RunPod's catalogue as offers, from the rows of both of its interfaces. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from brain.adapters.clouds.fields import amount, nano, text, whole
from brain.adapters.clouds.gpus import gpu
from brain.adapters.clouds.runpod.orders import COMMUNITY, SECURE, Choice
from brain.clouds import CloudOffer

CLOUD = "runpod"
# How many GPUs a pod is asked about; each is a question of its own to the catalogue.
COUNTS = (1, 2, 4, 8)
TIERS = (SECURE, COMMUNITY)
AVAILABLE = frozenset({"LOW", "MEDIUM", "HIGH"})
DOLLARS_HOUR_MAX = 1000  # per GPU; more is a mistake or a lie
# A running container's disk costs $0.10 per GB-month of 730 hours; stopped ones cost twice that.
STORAGE_NANO_GIB_HOUR = 136_987
GB_MIB = 1024  # memory is told in GB and meant in GiB


@dataclass(frozen=True, slots=True)
class Question:
    """What the catalogue was asked: its rows mean nothing without it."""

    tier: str
    gpus: int


QUESTIONS = tuple(Question(tier, gpus) for tier in TIERS for gpus in COUNTS)


def rest_offers(rows: Iterable[object], asked: Question) -> list[CloudOffer]:
    """Rows of ``/v2/catalog/gpus``; one offer for each data centre that has it."""
    found: list[CloudOffer] = []
    for row in rows:
        if not isinstance(row, Mapping) or not _is_available(row):
            continue
        prices = row.get("price")
        prices = prices if isinstance(prices, Mapping) else {}
        offer = _offer(row, prices, asked.tier.lower(), whole(row, "memory"), asked)
        if offer is not None:
            found += [_placed(offer, row, asked, centre) for centre in _centres(row)]
    return found


def graphql_offers(rows: Iterable[object], asked: Question) -> list[CloudOffer]:
    """Rows of ``gpuTypes``, which do not say where."""
    found: list[CloudOffer] = []
    for row in rows:
        if not isinstance(row, Mapping):
            continue
        lowest = row.get("lowestPrice")
        stock = text(lowest, "stockStatus") if isinstance(lowest, Mapping) else ""
        if stock.upper() not in AVAILABLE:
            continue
        price = "securePrice" if asked.tier == SECURE else "communityPrice"
        offer = _offer(row, row, price, whole(row, "memoryInGb"), asked)
        if offer is not None:
            found.append(offer)
    return found


def _offer(
    row: Mapping[str, object],
    prices: Mapping[str, object],
    price_name: str,
    memory_gb: int | None,
    asked: Question,
) -> CloudOffer | None:
    """A row whose price cannot be true is left out."""
    gpu_id, price = text(row, "id"), amount(prices, price_name)
    if not gpu_id or "|" in gpu_id or len(gpu_id) > 200:
        return None
    if price is None or not 0 < price <= DOLLARS_HOUR_MAX:
        return None
    card = gpu(gpu_id, (memory_gb or 0) * GB_MIB)
    return CloudOffer(
        cloud=CLOUD,
        key=Choice(asked.tier, gpu_id, asked.gpus).key,
        gpu_name=card.name,
        gpus=asked.gpus,
        vram_mib=card.vram_mib,
        price_nano=nano(price),
        region="",
        secure=asked.tier == SECURE,
        storage_nano_gib_hour=STORAGE_NANO_GIB_HOUR,
    )


def _placed(
    offer: CloudOffer, row: Mapping[str, object], asked: Question, centre: str
) -> CloudOffer:
    key = Choice(asked.tier, text(row, "id"), asked.gpus, centre).key
    return replace(offer, key=key, region=centre)


def _is_available(row: Mapping[str, object]) -> bool:
    return text(row, "availability").upper() in AVAILABLE


def _centres(row: Mapping[str, object]) -> list[str]:
    """Where it is now; "" alone where the cloud does not say (community hosts)."""
    told = row.get("dataCenters")
    if not isinstance(told, list) or not told:
        return [""]
    centres = [one for one in told if isinstance(one, Mapping) and _is_available(one)]
    return sorted({text(one, "id")[:60] for one in centres} - {""})
