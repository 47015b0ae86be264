"""What an offer is expected to cost in all: one small function a part, integers rounded up.

Every part is zero or more and rises with the price, the cold start and the chance to fail;
the planner's early stop rests on that.
"""

from __future__ import annotations

from brain.scheduling.offer import MILLION, Cost, Offer, PlanRequest
from kernel.money import Money

HOUR = 3600


def rent(request: PlanRequest, offer: Offer, gpus: int) -> int:
    return _up(offer.price_nano * gpus * request.seconds, HOUR)


def storage(request: PlanRequest, offer: Offer) -> int:
    return _up(offer.storage_nano_gib_hour * request.storage_gib * request.seconds, HOUR)


def cold_start(offer: Offer, gpus: int) -> int:
    """GPU time that is paid before the first answer."""
    return _up(offer.price_nano * gpus * offer.cold_start_seconds, HOUR)


def failure_risk(request: PlanRequest, offer: Offer, gpus: int) -> int:
    """The chance that it fails, times half the work and another cold start lost."""
    lost_seconds = request.seconds // 2 + offer.cold_start_seconds
    chance_ppm = MILLION - offer.reliability_ppm
    return _up(offer.price_nano * gpus * lost_seconds * chance_ppm, HOUR * MILLION)


def cost(request: PlanRequest, offer: Offer, gpus: int) -> Cost:
    return Cost(
        rent_nano=rent(request, offer, gpus),
        storage_nano=storage(request, offer),
        cold_start_nano=cold_start(offer, gpus),
        failure_risk_nano=failure_risk(request, offer, gpus),
    )


def total(request: PlanRequest, offer: Offer, gpus: int) -> int:
    """``cost(...).total_nano``, without the parts."""
    return bound(request, offer.price_nano, gpus, offer)


def bound(request: PlanRequest, price_nano: int, gpus: int, best: Offer) -> int:
    """The total at this price with the cold start, record and storage of ``best``."""
    hourly, cold = price_nano * gpus, best.cold_start_seconds
    lost = hourly * (request.seconds // 2 + cold) * (MILLION - best.reliability_ppm)
    nano = rent_of(hourly, request) - (-hourly * cold // HOUR) - (-lost // (HOUR * MILLION))
    return nano + storage(request, best) if request.storage_gib else nano


def rent_of(hourly_nano: int, request: PlanRequest) -> int:
    """The rent alone of what costs so much an hour in all."""
    return -(-hourly_nano * request.seconds // HOUR)


def sentences(request: PlanRequest, offer: Offer, gpus: int, worth: Cost) -> tuple[str, ...]:
    """The sum shown: the total first, then each part that is not zero."""
    parts = (
        (worth.rent_nano, f"rent of {gpus} × {offer.gpu_name} for {request.seconds} s"),
        (worth.storage_nano, f"storage of {request.storage_gib} GiB"),
        (worth.cold_start_nano, f"cold start of {offer.cold_start_seconds} s"),
        (
            worth.failure_risk_nano,
            f"risk of failing ({100 - offer.reliability_ppm / 10_000:.2f} %)",
        ),
    )
    name = offer.node_name or offer.place
    first = f"{gpus} × {offer.gpu_name} on {name}: expected to cost {Money(worth.total_nano)}."
    return (first, *(f"{Money(nano)} {what}." for nano, what in parts if nano))


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
