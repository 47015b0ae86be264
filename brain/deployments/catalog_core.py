"""Pure: which models are asked for, what fits on which GPUs, and what that costs now."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from brain.scheduling import Board, Choice, Offer, PlanRequest
from catalog import (
    GPU_KINDS,
    Catalog,
    Category,
    Engine,
    Fit,
    GpuKind,
    Kind,
    Template,
    Use,
    fit,
    gpu_kinds,
    use_of,
)

# Of each kind of GPU the cheapest offers that may be taken: one of so many gets the model.
OFFERS_TRIED = 20
GPUS_MAX = 8


@dataclass(frozen=True)
class Wanted:
    """What a list of models is asked for; an empty field asks for nothing."""

    kind: Kind | None = None
    category: Category | None = None
    engine: Engine | None = None
    licence: str = ""
    text: str = ""
    gpu: str = ""
    gpus: int = 1


@dataclass(frozen=True)
class Found:
    """A model, and where a GPU was asked for, how it fits there."""

    template: Template
    fitting: Template | None = None  # itself, or one of its quantisations
    kind: GpuKind | None = None
    fit: Fit | None = None


@dataclass(frozen=True)
class Place:
    """A model on one kind of GPU: how many it takes, and the cheapest offer of them now."""

    gpu_name: str
    memory_mib: int
    quantisation: str
    fit: Fit
    choice: Choice | None  # None: nothing of this kind is to be had now
    offers: int
    simulated: bool = False


def find(catalog: Catalog, wanted: Wanted) -> list[Found]:
    """Listed models that match, by id. ``BadInput`` for a GPU that is not known."""
    kinds = gpu_kinds(wanted.gpu) if wanted.gpu else ()
    found = []
    for template in catalog.of_kind(wanted.kind):
        if not _matches(template, wanted):
            continue
        if not kinds:
            found.append(Found(template))
            continue
        fitting = _fitting(template, kinds, wanted.gpus)
        if fitting is not None:
            found.append(fitting)
    return found


def variants(template: Template) -> list[Template]:
    """The model itself, then each of its quantisations."""
    return [template, *(template.quantised(one.id) for one in template.quantisations)]


def places(
    asked: Sequence[tuple[Template, PlanRequest]], use: Use, offers: Iterable[Offer], now_ns: int
) -> list[Place]:
    """Every kind of GPU that is known or on offer, for the model as it is and quantised."""
    supply = _by_kind(offers)
    named = {name for name, _, _ in supply}
    known = [(kind.name, kind.memory_mib, False) for kind in GPU_KINDS if kind.name not in named]
    found = []
    for name, memory_mib, simulated in sorted([*supply, *known], key=lambda kind: kind[1::-1]):
        standing = supply.get((name, memory_mib, simulated), [])
        most = max((offer.total for offer in standing), default=GPUS_MAX)
        for template, request in asked:
            if simulated and not request.simulated:
                continue
            cheapest = _cheapest(standing, request)
            found.append(
                Place(
                    gpu_name=name,
                    memory_mib=memory_mib,
                    quantisation=template.quantisation,
                    fit=fit(template, use, gpu_memory_mib=memory_mib, gpus_max=most),
                    choice=Board(cheapest).plan(request, now_ns).chosen if cheapest else None,
                    offers=len(standing),
                    simulated=simulated,
                )
            )
    return found


def _matches(template: Template, wanted: Wanted) -> bool:
    if wanted.category is not None and template.category is not wanted.category:
        return False
    if wanted.engine is not None and template.engine is not wanted.engine:
        return False
    if wanted.licence and template.licence.id.lower() != wanted.licence.lower():
        return False
    words = wanted.text.lower().split()
    said = " ".join(
        (template.id, template.name, template.summary, template.publisher, *template.aliases)
    ).lower()
    return all(word in said for word in words)


def _fitting(template: Template, kinds: Sequence[GpuKind], gpus: int) -> Found | None:
    """The widest weights that fit on the smallest of these kinds."""
    for kind in kinds:
        for variant in variants(template):
            use = use_of(variant, context=None, concurrency=None)
            found = fit(variant, use, gpu_memory_mib=kind.memory_mib, gpus_max=gpus)
            if found.fits:
                return Found(template, variant, kind, found)
    return None


def _by_kind(offers: Iterable[Offer]) -> dict[tuple[str, int, bool], list[Offer]]:
    kinds: dict[tuple[str, int, bool], list[Offer]] = defaultdict(list)
    for offer in offers:
        kinds[offer.gpu_name, offer.vram_mib, offer.simulated].append(offer)
    return kinds


def _cheapest(offers: list[Offer], request: PlanRequest) -> list[Offer]:
    """Of those that may be taken and hold what is asked for, the cheapest."""
    free = (o for o in offers if not o.withheld and _holds(o, request))
    return heapq.nsmallest(OFFERS_TRIED, free, key=lambda offer: (offer.price_nano, offer.place))


def _holds(offer: Offer, request: PlanRequest) -> bool:
    """Are so many GPUs as the model takes free there? A cloud's machine is taken whole."""
    return any(
        shape.vram_mib <= offer.vram_mib
        and (shape.gpus == offer.total if offer.cloud else shape.gpus <= offer.free)
        for shape in request.shapes
    )
