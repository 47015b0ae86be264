"""Reasons to reject an offer, one small function each: a sentence, or None to let it pass.

Each comes as a quick test and a sentence, so that a decision over thousands of offers writes
no text that nobody reads.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from brain.scheduling import scores
from brain.scheduling.offer import Offer, PlanRequest, Shape, Trust
from kernel.clock import NS
from kernel.money import HourlyRate, Money

Test = Callable[[PlanRequest, Offer, int], bool]
Sentence = Callable[[PlanRequest, Offer, int], str]


@dataclass(frozen=True)
class Filter:
    """``rejects`` is cheap; ``why`` is asked only of offers that it rejected.

    ``by_kind``: it looks only at what all offers of one shelf of the board share.
    """

    name: str
    rejects: Test
    why: Sentence
    by_kind: bool = False


def shape_on(request: PlanRequest, offer: Offer) -> Shape | None:
    """The shape with fewest GPUs whose memory this kind of GPU has and whose count is free.

    A cloud's machine is paid for as a whole, so there a shape must use all of its GPUs.
    """
    best: Shape | None = None
    for shape in request.shapes:
        fits = shape.vram_mib <= offer.vram_mib and shape.gpus <= offer.free
        fits = fits and (not offer.cloud or shape.gpus == offer.total)
        if fits and (best is None or shape.gpus < best.gpus):
            best = shape
    return best


def _too_small(request: PlanRequest, offer: Offer, now_ns: int) -> bool:
    return all(s.vram_mib > offer.vram_mib or s.gpus > offer.total for s in request.shapes)


def _too_small_why(request: PlanRequest, offer: Offer, now_ns: int) -> str:
    wanted = " or ".join(f"{s.gpus} × {_gib(s.vram_mib)}" for s in sorted(request.shapes))
    return f"It has {offer.total} × {_gib(offer.vram_mib)}; {wanted} is needed."


def _busy(request: PlanRequest, offer: Offer, now_ns: int) -> bool:
    return not _too_small(request, offer, now_ns) and shape_on(request, offer) is None


def _busy_why(request: PlanRequest, offer: Offer, now_ns: int) -> str:
    fitting = [s.gpus for s in request.shapes if s.vram_mib <= offer.vram_mib]
    if offer.cloud:
        asked = " or ".join(str(gpus) for gpus in sorted(set(fitting)))
        return f"It is rented whole, with {offer.total} GPUs; {asked} can be used."
    return f"{offer.free} of {offer.total} GPUs are free; {min(fitting)} needed."


def _withheld(request: PlanRequest, offer: Offer, now_ns: int) -> bool:
    until_ns = offer.withheld_until_ns
    return offer.withheld != "" and (until_ns == 0 or now_ns < until_ns)


def _withheld_why(request: PlanRequest, offer: Offer, now_ns: int) -> str:
    if offer.withheld_until_ns == 0:
        return offer.withheld
    seconds = -((now_ns - offer.withheld_until_ns) // NS)
    return f"{offer.withheld} It is tried again in {seconds} s."


def _stale(request: PlanRequest, offer: Offer, now_ns: int) -> bool:
    most = request.cloud_age_seconds_max if offer.cloud else request.age_seconds_max
    return now_ns - offer.seen_ns > most * NS


def _stale_why(request: PlanRequest, offer: Offer, now_ns: int) -> str:
    if offer.seen_ns == 0:
        return "It has not been heard yet."
    age = (now_ns - offer.seen_ns) // NS
    if offer.cloud:
        return (
            f"Its cloud last told of it {age} s ago; {request.cloud_age_seconds_max} s is the most."
        )
    return f"It was last heard {age} s ago; {request.age_seconds_max} s is the most."


def _wrong_gpu(request: PlanRequest, offer: Offer, now_ns: int) -> bool:
    if not request.gpu_names:
        return False
    name = offer.gpu_name.lower()
    return not any(part.lower() in name for part in request.gpu_names)


def _over_budget(request: PlanRequest, offer: Offer, now_ns: int) -> bool:
    if request.budget_nano is None:
        return False
    shape = shape_on(request, offer)
    return shape is not None and scores.total(request, offer, shape.gpus) > request.budget_nano


def _over_budget_why(request: PlanRequest, offer: Offer, now_ns: int) -> str:
    shape = shape_on(request, offer)
    assert request.budget_nano is not None, "only asked where a budget rejected"
    assert shape is not None, "only asked where something fits"
    total = Money(scores.total(request, offer, shape.gpus))
    return f"It is expected to cost {total}; the budget is {Money(request.budget_nano)}."


def _price_why(request: PlanRequest, offer: Offer, now_ns: int) -> str:
    assert request.price_nano_max is not None, "only asked where a price limit rejected"
    return f"It asks {HourlyRate(offer.price_nano)}; {HourlyRate(request.price_nano_max)} is set."


FILTERS: tuple[Filter, ...] = (
    Filter(
        "avoided",
        lambda r, o, n: o.place in r.avoid,
        lambda r, o, n: r.avoid[o.place],
    ),
    Filter(
        "only",
        lambda r, o, n: r.only not in ("", o.place),
        lambda r, o, n: r.only_why,
    ),
    Filter(
        "clouds",
        lambda r, o, n: o.cloud != "" and not r.clouds,
        lambda r, o, n: r.clouds_why or "It is a cloud's machine, where this work may not run.",
        by_kind=True,
    ),
    Filter(
        "image",
        lambda r, o, n: o.cloud in r.refused_by,
        lambda r, o, n: r.refused_by[o.cloud],
    ),
    Filter("withheld", _withheld, _withheld_why),
    Filter("freshness", _stale, _stale_why),
    Filter(
        "simulated",
        lambda r, o, n: o.simulated and not r.simulated,
        lambda r, o, n: "Its GPUs are simulated; real ones are needed.",
        by_kind=True,
    ),
    Filter(
        "containers",
        # A rented machine boots an image in which the engine is installed.
        lambda r, o, n: r.containers and not o.cloud and o.engine != "docker",
        lambda r, o, n: "Its agent has no container engine; this work runs in a container.",
        by_kind=True,
    ),
    Filter(
        "gpu",
        _wrong_gpu,
        lambda r, o, n: f"It has {o.gpu_name}; {' or '.join(sorted(r.gpu_names))} is asked for.",
        by_kind=True,
    ),
    Filter("memory", _too_small, _too_small_why, by_kind=True),
    Filter("count", _busy, _busy_why, by_kind=True),
    Filter(
        "price",
        lambda r, o, n: r.price_nano_max is not None and o.price_nano > r.price_nano_max,
        _price_why,
    ),
    Filter(
        "region",
        lambda r, o, n: bool(r.regions) and o.region not in r.regions,
        lambda r, o, n: (
            f"It stands in {o.region or 'an unknown region'};"
            f" {' or '.join(sorted(r.regions))} is asked for."
        ),
        by_kind=True,
    ),
    Filter(
        "spot",
        lambda r, o, n: o.spot and not r.spot,
        lambda r, o, n: "It can be taken away at any time (spot); that was not allowed.",
        by_kind=True,
    ),
    Filter(
        "reliability",
        lambda r, o, n: o.reliability_ppm < r.reliability_ppm_min,
        lambda r, o, n: (
            f"Its reliability is {o.reliability_ppm / 10_000:.2f} %;"
            f" {r.reliability_ppm_min / 10_000:.2f} % is asked for."
        ),
    ),
    Filter(
        "trust",
        lambda r, o, n: o.trust < r.trust_min,
        lambda r, o, n: (
            f"It is {o.trust.name.lower()};"
            f" at least {Trust(r.trust_min).name.lower()} is asked for."
        ),
        by_kind=True,
    ),
    Filter(
        "duration",
        lambda r, o, n: o.seconds_max is not None and o.seconds_max < r.seconds,
        lambda r, o, n: f"It can be rented for {o.seconds_max} s; {r.seconds} s are planned.",
    ),
    Filter(
        "disk",
        lambda r, o, n: o.disk_gib_max is not None and o.disk_gib_max < r.storage_gib,
        lambda r, o, n: f"It has {o.disk_gib_max} GiB of disk; {r.storage_gib} GiB are needed.",
    ),
    Filter("budget", _over_budget, _over_budget_why),
)

KIND_FILTERS = tuple(one for one in FILTERS if one.by_kind)
OFFER_FILTERS = tuple(one for one in FILTERS if not one.by_kind)


def _gib(mib: int) -> str:
    return f"{mib / 1024:.0f} GiB"
