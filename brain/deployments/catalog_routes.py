"""HTTP of the catalog: what can be deployed, what it needs, and where it fits now."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel

from brain import fleet
from brain.deployments.placing import plain, request_for_template, show_candidate
from brain.deployments.routes import CatalogIn, CtxIn, Reader
from brain.deployments.schemas import CandidateOut
from brain.edge import Page, PageQuery, page_of, page_query
from brain.scheduling import Board
from catalog import Kind, Need, Template, need, parallel_choices, use_of

router = APIRouter(prefix="/api/v1/catalog", tags=["catalog"])

CANDIDATES_SHOWN = 50


class ModelOut(BaseModel):
    """One model of the catalog."""

    id: str
    name: str
    summary: str
    kind: str
    also: list[str]
    category: str
    publisher: str
    licence: str
    licence_url: str
    gated: bool
    source: str
    engine: str
    parameters: int | None
    context_max: int
    default_context: int
    default_concurrency: int
    pool_price_usd_per_gpu_hour: str | None


class LineOut(BaseModel):
    label: str
    mib: int
    how: str


class NeedOut(BaseModel):
    """On each of ``gpus`` GPUs; ``memory_mib`` is the least memory that such a GPU must have."""

    gpus: int
    per_gpu_mib: int
    memory_mib: int
    lines: list[LineOut]


class ModelDetailOut(ModelOut):
    """``needs`` shows the sum for each way to split it; ``fits`` where it stands best now."""

    context: int
    concurrency: int
    needs: list[NeedOut]
    outcome: str
    fits: list[CandidateOut]
    offers_count: int


@router.get("")
async def list_models(
    principal: Reader,
    catalog: CatalogIn,
    query: Annotated[PageQuery, Depends(page_query)],
    kind: Annotated[Kind | None, Query()] = None,
) -> Page[ModelOut]:
    """Models that can be deployed, by id."""
    after = query.after_one() or ""
    rows = [t for t in catalog.of_kind(kind) if t.id > after][: query.limit + 1]
    return page_of(rows, query, key=lambda t: t.id, show=lambda t: ModelOut(**_facts(t)))


@router.get("/{model_id:path}")
async def get_model(
    model_id: str,
    principal: Reader,
    catalog: CatalogIn,
    ctx: CtxIn,
    context: Annotated[int | None, Query(ge=1, le=10**7)] = None,
    concurrency: Annotated[int | None, Query(ge=1, le=1024)] = None,
) -> ModelDetailOut:
    """One model: the memory it needs with the sum shown, and the offers that fit it now."""
    template = catalog.get(model_id)
    use = use_of(template, context=context, concurrency=concurrency)
    request = request_for_template(template, use)
    plan = Board(await fleet.offers(ctx)).plan(request, ctx.clock.now_ns())
    return ModelDetailOut(
        **_facts(template),
        context=use.context,
        concurrency=use.concurrency,
        needs=[_need(need(template, use, gpus)) for gpus in parallel_choices(template)],
        outcome=plan.summary,
        fits=[
            CandidateOut.model_validate(show_candidate(candidate))
            for candidate in plan.candidates[:CANDIDATES_SHOWN]
        ],
        offers_count=len(plan.candidates),
    )


def _facts(template: Template) -> dict[str, Any]:
    pool = template.pool
    return {
        "id": template.id,
        "name": template.name,
        "summary": template.summary,
        "kind": template.kind.value,
        "also": [kind.value for kind in template.also],
        "category": template.category.value,
        "publisher": template.publisher,
        "licence": template.licence.id,
        "licence_url": str(template.licence.url),
        "gated": template.licence.gated,
        "source": str(template.source),
        "engine": template.engine.value,
        "parameters": template.shape.parameters if template.shape else None,
        "context_max": template.context_max,
        "default_context": template.defaults.context,
        "default_concurrency": template.defaults.concurrency,
        "pool_price_usd_per_gpu_hour": plain(pool.rate_nano) if pool else None,
    }


def _need(found: Need) -> NeedOut:
    return NeedOut(
        gpus=found.gpus,
        per_gpu_mib=found.per_gpu_mib,
        memory_mib=found.memory_mib,
        lines=[LineOut(label=x.label, mib=x.mib, how=x.how) for x in found.lines],
    )
