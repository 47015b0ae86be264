"""HTTP of offers: all that is for rent now, nodes and clouds in one list."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request

from brain.edge import Page, PageQuery, encode_cursor, get_ctx, page_query
from brain.identity import Principal, admin_user, anyone
from brain.offers import store
from brain.offers.core.listing import Asked, after_of, cursor_of, listed
from brain.offers.market import Market
from brain.offers.schemas import OfferOut, SourcesOut, show_offer, show_sources
from brain.plumbing import Ctx
from kernel.money import NANO

router = APIRouter(tags=["offers"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
Reader = Annotated[Principal, Depends(anyone("read"))]
AdminIn = Annotated[Principal, Depends(admin_user)]
Name = Annotated[str, Query(max_length=120)]


def get_market(request: Request) -> Market:
    """What this process knows of the market; wiring puts it on the app."""
    market: Market = request.app.state.market
    return market


def asked(
    gpu: Annotated[str, Query(max_length=120, description="A part of the GPU's name.")] = "",
    cloud: Annotated[str, Query(max_length=120, description="A cloud, or `nodes`.")] = "",
    region: Name = "",
    min_vram_gib: Annotated[int, Query(ge=0, le=4096, description="Of each GPU.")] = 0,
    max_price: Annotated[
        Decimal | None, Query(gt=0, le=10_000, description="Dollars per GPU-hour.")
    ] = None,
    count: Annotated[int, Query(ge=1, le=64, description="GPUs that are free, at least.")] = 1,
    spot: Annotated[bool | None, Query(description="May it be taken away at any time?")] = None,
    secure: Annotated[bool | None, Query(description="Does it stand in a data centre?")] = None,
    simulated: bool | None = None,
    available: Annotated[bool | None, Query(description="May it be taken now?")] = None,
) -> Asked:
    return Asked(
        gpu=gpu.strip(),
        cloud=cloud.strip(),
        region=region.strip(),
        vram_mib_min=min_vram_gib * 1000,  # a "24 GB" card has a little less than 24 GiB
        price_nano_max=None if max_price is None else int(max_price * NANO),
        gpus=count,
        spot=spot,
        secure=secure,
        simulated=simulated,
        available=available,
    )


@router.get("/api/v1/offers")
async def list_offers(
    principal: Reader,
    ctx: CtxIn,
    market: Annotated[Market, Depends(get_market)],
    wanted: Annotated[Asked, Depends(asked)],
    query: Annotated[PageQuery, Depends(page_query)],
) -> Page[OfferOut]:
    """GPUs for rent, the cheapest first; each with its age, and why it may not be taken now."""
    after = after_of(query.after)
    board = await market.board()
    now_ns = ctx.clock.now_ns()
    found = listed(board.offers, wanted, now_ns, after=after, limit=query.limit + 1)
    shown = found[: query.limit]
    return Page(
        items=[show_offer(offer, now_ns) for offer in shown],
        next=encode_cursor(*cursor_of(shown[-1])) if len(found) > query.limit else None,
    )


@router.get("/api/v1/admin/offers")
async def sources(principal: AdminIn, ctx: CtxIn) -> SourcesOut:
    """How each cloud's refreshes go, what it told that cannot be true, and what rests."""
    async with ctx.db.begin() as tx:
        rows, blocks = await store.refreshes(tx), await store.blocks(tx)
    return show_sources(rows, blocks, ctx.clock.now_ns())
