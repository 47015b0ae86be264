"""What the catalog's routes give: models with their facts, the sums of their memory, places."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from brain.deployments.catalog_core import Found, Place
from brain.deployments.placing import plain
from brain.deployments.schemas import CandidateOut
from catalog import Catalog, GpuFit, Need, Template


class QuantisationOut(BaseModel):
    """Deployed as ``<model id>:<id>``, or by ``quantisation`` at the deployment."""

    id: str
    weights: str
    repository: str
    quantised_while_loading: bool


class SmallestOut(BaseModel):
    """The fewest GPUs on which the default use fits, of the kind with the least memory."""

    gpu: str
    gpus: int
    memory_mib: int


class FitsOut(BaseModel):
    """How it fits on the GPU that was asked for; ``quantisation`` empty: as it is published."""

    gpu: str
    gpus: int
    quantisation: str
    memory_mib: int


class ModelOut(BaseModel):
    """One model of the catalog."""

    id: str
    name: str
    summary: str
    aliases: list[str]
    kind: str
    also: list[str]
    routes: list[str]
    category: str
    publisher: str
    licence: str
    licence_name: str
    licence_url: str
    gated: bool
    source: str
    figures: str | None
    engine: str
    image: str
    parameters: int | None
    active_parameters: int | None
    weights: str | None
    quantisations: list[QuantisationOut]
    context_max: int
    default_context: int
    default_concurrency: int
    pool_price_usd_per_gpu_hour: str | None
    smallest_gpu: SmallestOut | None
    fits_on: FitsOut | None = None


class LineOut(BaseModel):
    label: str
    mib: int
    how: str


class NeedOut(BaseModel):
    """On each of ``gpus`` GPUs; ``memory_mib`` is the least memory that such a GPU must have.

    ``quantisation`` is empty for the weights as they are published.
    """

    quantisation: str
    gpus: int
    per_gpu_mib: int
    memory_mib: int
    lines: list[LineOut]


class PlaceOut(BaseModel):
    """One kind of GPU: does it fit, on how many, and what the cheapest that is free costs now.

    Prices are null when nothing of this kind can be had. ``price_usd_per_hour`` is of all
    ``gpus``; of a cloud's machine, which is rented whole, of all it has.
    """

    gpu: str
    gpu_memory_mib: int
    simulated: bool
    quantisation: str
    fits: bool
    gpus: int
    memory_mib: int
    reason: str
    price_usd_per_gpu_hour: str | None
    price_usd_per_hour: str | None
    where: str | None
    cloud: str | None
    region: str | None
    offers: int


class ModelDetailOut(ModelOut):
    """``needs`` shows the sum for each way to split it, ``places`` every kind of GPU with its
    price now, ``fits`` the single offers on which it stands best now."""

    context: int
    concurrency: int
    needs: list[NeedOut]
    places: list[PlaceOut]
    outcome: str
    fits: list[CandidateOut]
    offers_count: int


def show_model(found: Found, catalog: Catalog) -> ModelOut:
    return ModelOut(**facts(found.template, catalog), fits_on=_fits_on(found))


def facts(template: Template, catalog: Catalog) -> dict[str, Any]:
    """What a list and a single model's page have in common."""
    pool, shape = template.pool, template.shape
    return {
        "id": template.id,
        "name": template.name,
        "summary": template.summary,
        "aliases": list(template.aliases),
        "kind": template.kind.value,
        "also": [kind.value for kind in template.also],
        "routes": list(template.routes),
        "category": template.category.value,
        "publisher": template.publisher,
        "licence": template.licence.id,
        "licence_name": template.licence.name or template.licence.id,
        "licence_url": str(template.licence.url),
        "gated": template.licence.gated,
        "source": str(template.source),
        "figures": str(template.figures) if template.figures else None,
        "engine": template.engine.value,
        "image": template.start.image,
        "parameters": shape.parameters if shape else None,
        "active_parameters": (shape.active_parameters or shape.parameters) if shape else None,
        "weights": shape.weights.value if shape else None,
        "quantisations": [
            QuantisationOut(
                id=one.id,
                weights=one.weights.value,
                repository=one.repository or template.id,
                quantised_while_loading=one.repository is None,
            )
            for one in template.quantisations
        ],
        "context_max": template.context_max,
        "default_context": template.defaults.context,
        "default_concurrency": template.defaults.concurrency,
        "pool_price_usd_per_gpu_hour": plain(pool.rate_nano) if pool else None,
        "smallest_gpu": _smallest(catalog.smallest(template)),
    }


def show_need(template: Template, found: Need) -> NeedOut:
    return NeedOut(
        quantisation=template.quantisation,
        gpus=found.gpus,
        per_gpu_mib=found.per_gpu_mib,
        memory_mib=found.memory_mib,
        lines=[LineOut(label=x.label, mib=x.mib, how=x.how) for x in found.lines],
    )


def show_place(place: Place) -> PlaceOut:
    choice = place.choice
    gpus = place.fit.need.gpus if choice is None else choice.gpus
    return PlaceOut(
        gpu=place.gpu_name,
        gpu_memory_mib=place.memory_mib,
        simulated=place.simulated,
        quantisation=place.quantisation,
        fits=place.fit.fits,
        gpus=gpus,
        memory_mib=place.fit.need.memory_mib,
        reason=place.fit.reason,
        price_usd_per_gpu_hour=None if choice is None else plain(choice.offer.price_nano),
        price_usd_per_hour=None if choice is None else plain(choice.offer.price_nano * gpus),
        where=None if choice is None else choice.offer.node_name or choice.offer.place,
        cloud=None if choice is None else choice.offer.cloud,
        region=None if choice is None else choice.offer.region,
        offers=place.offers,
    )


def _smallest(found: GpuFit | None) -> SmallestOut | None:
    if found is None:
        return None
    return SmallestOut(
        gpu=found.kind.name, gpus=found.fit.need.gpus, memory_mib=found.fit.need.memory_mib
    )


def _fits_on(found: Found) -> FitsOut | None:
    if found.fit is None or found.kind is None or found.fitting is None:
        return None
    return FitsOut(
        gpu=found.kind.name,
        gpus=found.fit.need.gpus,
        quantisation=found.fitting.quantisation,
        memory_mib=found.fit.need.memory_mib,
    )
