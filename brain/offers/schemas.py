"""What the API shows of offers."""

from __future__ import annotations

from pydantic import BaseModel

from brain.offers.core.breaker import Block
from brain.offers.core.listing import NODES, shut
from brain.offers.models import OfferRefresh
from brain.scheduling import Offer, Trust
from kernel.clock import NS
from kernel.money import Money


class OfferOut(BaseModel):
    """GPUs for rent, on a node or as a whole machine at a cloud.

    Prices are what a renter pays. ``age_seconds``: since the node was heard, or the cloud told of
    it; null: never. ``withheld`` says why it may not be taken now; ``again_in_seconds`` when it
    may be, where that is known.
    """

    offer: str
    cloud: str
    node_id: str | None
    name: str
    gpu_name: str
    vram_mib: int
    gpus_free: int
    gpus_total: int
    machines: int | None
    price_usd_per_gpu_hour: str
    price_usd_per_hour: str
    storage_usd_per_gib_hour: str
    region: str
    host: str
    spot: bool
    secure: bool
    simulated: bool
    reliability_percent: float
    start_seconds: int
    failure_percent: float
    age_seconds: float | None
    withheld: str
    again_in_seconds: int | None


class SourceOut(BaseModel):
    """How a cloud's refreshes go. ``age_seconds`` null: none succeeded yet."""

    cloud: str
    age_seconds: float | None
    failures: int
    failure: str
    refused: str


class BlockOut(BaseModel):
    """What rests, and why; "*" is any. ``resting_seconds`` 0: the next attempt tries it."""

    cloud: str
    region: str
    gpu_name: str
    host: str
    offer: str
    kind: str
    strikes: int
    reason: str
    resting_seconds: int
    being_tried: bool


class SourcesOut(BaseModel):
    sources: list[SourceOut]
    blocks: list[BlockOut]


def show_sources(rows: list[OfferRefresh], blocks: list[Block], now_ns: int) -> SourcesOut:
    return SourcesOut(
        sources=[
            SourceOut(
                cloud=row.cloud,
                age_seconds=None if row.ok_ns == 0 else round((now_ns - row.ok_ns) / NS, 1),
                failures=row.failures,
                failure=row.failure,
                refused=row.refused,
            )
            for row in rows
        ],
        blocks=[
            BlockOut(
                cloud=block.scope.cloud,
                region=block.scope.region,
                gpu_name=block.scope.gpu_name,
                host=block.scope.host,
                offer=block.scope.offer_key,
                kind=block.kind.value,
                strikes=block.strikes,
                reason=block.reason,
                resting_seconds=max(0, -((now_ns - block.until_ns) // NS)),
                being_tried=block.probing(now_ns),
            )
            for block in blocks
            if block.opened
        ],
    )


def show_offer(offer: Offer, now_ns: int) -> OfferOut:
    closed = shut(offer, now_ns)
    again = None
    if closed and offer.withheld_until_ns:
        again = -((now_ns - offer.withheld_until_ns) // NS)
    whole = offer.total if offer.cloud else 1
    return OfferOut(
        offer=offer.place,
        cloud=offer.cloud or NODES,
        node_id=offer.node_id,
        name=offer.node_name,
        gpu_name=offer.gpu_name,
        vram_mib=offer.vram_mib,
        gpus_free=offer.free,
        gpus_total=offer.total,
        machines=offer.machines,
        price_usd_per_gpu_hour=_dollars(offer.price_nano),
        price_usd_per_hour=_dollars(offer.price_nano * whole),
        storage_usd_per_gib_hour=_dollars(offer.storage_nano_gib_hour),
        region=offer.region,
        host=offer.host,
        spot=offer.spot,
        secure=offer.trust >= Trust.VERIFIED,
        simulated=offer.simulated,
        reliability_percent=offer.reliability_ppm / 10_000,
        start_seconds=offer.cold_start_seconds,
        failure_percent=offer.failure_ppm / 10_000,
        age_seconds=None if offer.seen_ns == 0 else round((now_ns - offer.seen_ns) / NS, 1),
        withheld=offer.withheld if closed else "",
        again_in_seconds=again,
    )


def _dollars(nano: int) -> str:
    return str(Money(nano)).replace("$", "").replace(",", "")
