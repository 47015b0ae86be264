"""HTTP of the catalog: what can be deployed, what it needs, and where it fits at what price now."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from brain.deployments import catalog_core, measures
from brain.deployments.catalog_core import Wanted
from brain.deployments.catalog_schemas import (
    ModelDetailOut,
    ModelOut,
    facts,
    show_model,
    show_need,
    show_place,
)
from brain.deployments.placing import show_candidate
from brain.deployments.recipes import request_for_template
from brain.deployments.routes import CatalogIn, CtxIn, Reader
from brain.deployments.schemas import CandidateOut
from brain.edge import Page, PageQuery, page_of, page_query
from brain.offers import Market
from catalog import Category, Engine, Kind, need, parallel_choices, use_of

router = APIRouter(prefix="/api/v1/catalog", tags=["catalog"])


def get_market(request: Request) -> Market:
    """What this process knows of all that is for rent; wiring puts it on the app."""
    market: Market = request.app.state.market
    return market


def wanted(
    kind: Annotated[Kind | None, Query(description="What the model does.")] = None,
    category: Annotated[Category | None, Query(description="The shelf it stands on.")] = None,
    engine: Annotated[Engine | None, Query(description="What serves it.")] = None,
    licence: Annotated[
        str, Query(max_length=60, description="Its licence, as an SPDX id or LicenseRef-...")
    ] = "",
    q: Annotated[
        str, Query(max_length=100, description="Words of its id, name, summary or publisher.")
    ] = "",
    gpu: Annotated[
        str, Query(max_length=60, description="A GPU on which it must fit, such as `RTX 4090`.")
    ] = "",
    gpus: Annotated[int, Query(ge=1, le=8, description="So many of that GPU, at most.")] = 1,
) -> Wanted:
    return Wanted(kind, category, engine, licence.strip(), q, gpu.strip(), gpus)


@router.get("")
async def list_models(
    principal: Reader,
    catalog: CatalogIn,
    query: Annotated[PageQuery, Depends(page_query)],
    asked: Annotated[Wanted, Depends(wanted)],
) -> Page[ModelOut]:
    """Models that can be deployed, by id; with a GPU only those that fit on it, and how."""
    after = query.after_one() or ""
    rows = [x for x in catalog_core.find(catalog, asked) if x.template.id > after]
    return page_of(
        rows[: query.limit + 1],
        query,
        key=lambda found: found.template.id,
        show=lambda found: show_model(found, catalog),
    )


@router.get("/{model_id:path}")
async def get_model(
    model_id: str,
    principal: Reader,
    catalog: CatalogIn,
    ctx: CtxIn,
    market: Annotated[Market, Depends(get_market)],
    context: Annotated[int | None, Query(ge=1, le=10**7)] = None,
    concurrency: Annotated[int | None, Query(ge=1, le=1024)] = None,
) -> ModelDetailOut:
    """One model: the memory it needs with the sum shown, and where it fits at what price now.

    ``<model id>:<quantisation>`` shows it with those weights alone.
    """
    template = catalog.get(model_id)
    use = use_of(template, context=context, concurrency=concurrency)
    async with ctx.db.begin() as tx:
        variants = await measures.corrected(tx, *catalog_core.variants(template))
    asked = [(one, request_for_template(one, use)) for one in variants]
    board = await market.board()
    now_ns = ctx.clock.now_ns()
    plan = board.plan(asked[0][1], now_ns)
    return ModelDetailOut(
        **facts(template, catalog),
        context=use.context,
        concurrency=use.concurrency,
        needs=[
            show_need(one, need(one, use, gpus))
            for one in variants
            for gpus in parallel_choices(one)
        ],
        places=[show_place(x) for x in catalog_core.places(asked, use, board.offers, now_ns)],
        outcome=plan.summary,
        fits=[
            CandidateOut.model_validate(show_candidate(candidate))
            for candidate in plan.why.candidates
        ],
        offers_count=plan.why.offers,
    )
