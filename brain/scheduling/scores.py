"""What an offer is expected to cost in all: one small function a part, integers rounded up.

    price  = GPUs x their price an hour
    boot   = the place's usual boot + the model's files, where they do not lie yet
    total  = price x work                                  what the work itself costs
           + storage                                       beyond what the price includes
           + price x boot                                  GPU time before the first answer
           + price x ((1 - reliability) x (work / 2 + boot)    it fails while it works
                      + failure x boot)                        it does not come to work

``reliability`` is what is told of the place less what it took away; ``failure`` and the boot come
from the smoothed history of attempts (``brain.offers.core.history``). Every part is zero or more
and rises with the price, the boot and the chance to fail; the planner's early stop rests on that.
"""

from __future__ import annotations

from brain.scheduling.offer import MILLION, Choice, Cost, Offer, PlanRequest, Prefer
from kernel.clock import NS
from kernel.money import Money

HOUR = 3600
SPREAD_PERCENT = 10  # of the rent, for each of the same work in the same neighbourhood
PACK_PERCENT = 10  # of the rent, when all of a node would be left free; a new machine counts full
FRESH_SECONDS = 30  # a cloud's offer that is older is used with its age told


def rent(request: PlanRequest, offer: Offer, gpus: int) -> int:
    return _up(offer.price_nano * gpus * request.seconds, HOUR)


def storage(request: PlanRequest, offer: Offer) -> int:
    gib = max(0, request.storage_gib - offer.disk_gib_included)
    return _up(offer.storage_nano_gib_hour * gib * request.seconds, HOUR)


def boot_seconds(request: PlanRequest, offer: Offer) -> int:
    """Until the first answer: a place that served the model lately has its files."""
    near = not request.fetch_seconds or request.model in offer.models
    return offer.cold_start_seconds + (0 if near else request.fetch_seconds)


def cold_start(request: PlanRequest, offer: Offer, gpus: int) -> int:
    """GPU time that is paid before the first answer."""
    return _up(offer.price_nano * gpus * boot_seconds(request, offer), HOUR)


def failure_risk(request: PlanRequest, offer: Offer, gpus: int) -> int:
    """What must be done again: half the work and a boot where it fails at work, a boot where it
    does not come to work; each by its chance."""
    boot = boot_seconds(request, offer)
    weighed = (request.seconds // 2 + boot) * (MILLION - offer.reliability_ppm)
    weighed += boot * offer.failure_ppm
    return _up(offer.price_nano * gpus * weighed, HOUR * MILLION)


def preference(request: PlanRequest, offer: Offer, gpus: int) -> int:
    """What it counts for that a place is not the preferred one, as a part of the rent."""
    if request.prefer is Prefer.CHEAPEST:
        return 0
    whole = rent(request, offer, gpus)
    if request.prefer is Prefer.SPREAD:
        near = max(request.beside.get(at, 0) for at in (offer.neighbourhood, offer.place))
        return whole * near * SPREAD_PERCENT // 100
    left = 1 if offer.cloud else offer.free - gpus
    total = 1 if offer.cloud else max(1, offer.total)
    return whole * left * PACK_PERCENT // (total * 100)


def cost(request: PlanRequest, offer: Offer, gpus: int) -> Cost:
    return Cost(
        rent_nano=rent(request, offer, gpus),
        storage_nano=storage(request, offer),
        cold_start_nano=cold_start(request, offer, gpus),
        failure_risk_nano=failure_risk(request, offer, gpus),
        preference_nano=preference(request, offer, gpus),
    )


def total(request: PlanRequest, offer: Offer, gpus: int) -> int:
    """``cost(...).total_nano``, without the parts."""
    return bound(request, offer.price_nano, gpus, offer)


def score(request: PlanRequest, offer: Offer, gpus: int) -> int:
    """``cost(...).score``, without the parts."""
    nano = bound(request, offer.price_nano, gpus, offer)
    if request.prefer is Prefer.CHEAPEST:
        return nano
    return nano + preference(request, offer, gpus)


def bound(request: PlanRequest, price_nano: int, gpus: int, best: Offer) -> int:
    """The total at this price with the boot, record and storage of ``best``."""
    hourly, boot = price_nano * gpus, best.cold_start_seconds
    if request.fetch_seconds and request.model not in best.models:
        boot += request.fetch_seconds
    weighed = (request.seconds // 2 + boot) * (MILLION - best.reliability_ppm)
    lost = hourly * (weighed + boot * best.failure_ppm)
    nano = rent_of(hourly, request) - (-hourly * boot // HOUR) - (-lost // (HOUR * MILLION))
    return nano + storage(request, best) if request.storage_gib else nano


def rent_of(hourly_nano: int, request: PlanRequest) -> int:
    """The rent alone of what costs so much an hour in all."""
    return -(-hourly_nano * request.seconds // HOUR)


def sentences(
    request: PlanRequest, offer: Offer, gpus: int, worth: Cost, now_ns: int
) -> tuple[str, ...]:
    """The sum shown: the total first, then each part that is not zero, then the age."""
    risks = 100 - offer.reliability_ppm / 10_000, offer.failure_ppm / 10_000
    parts = (
        (worth.rent_nano, f"rent of {gpus} × {offer.gpu_name} for {request.seconds} s"),
        (worth.storage_nano, f"storage of {request.storage_gib} GiB"),
        (worth.cold_start_nano, f"cold start of {boot_seconds(request, offer)} s"),
        (
            worth.failure_risk_nano,
            f"risk of failing ({risks[0]:.2f} % at work, {risks[1]:.2f} % before)",
        ),
        (worth.preference_nano, f"counted for not being preferred ({request.prefer.value})"),
    )
    first = Choice(offer, gpus, worth).sentence
    said = [f"{Money(nano)} {what}." for nano, what in parts if nano]
    age = (now_ns - offer.seen_ns) // NS
    if offer.cloud and age > FRESH_SECONDS:
        said.append(f"Its cloud last told of it {age} s ago.")
    return (first, *said)


def _up(numerator: int, denominator: int) -> int:
    return -(-numerator // denominator)
