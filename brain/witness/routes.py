"""HTTP of the witness: nodes' signed minutes, and what came of them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from brain import billing
from brain.edge import Page, PageQuery, get_ctx, page_of, page_query
from brain.fleet import signed_by_node
from brain.identity import Principal, anyone
from brain.marketplace import node_keys
from brain.plumbing import Ctx
from brain.witness import service, store
from brain.witness.schemas import ChainView, DisputeView, show_dispute, show_minute
from kernel.errors import NotFound
from kernel.ids import LeaseId
from kernel.wire import decode, encode
from kernel.wire.minutes import MinuteBatch

BATCH_BYTES_MAX = 512 << 10
PAGE_MAX = 1000

router = APIRouter(tags=["disputes"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
ReaderIn = Annotated[Principal, Depends(anyone("read"))]
QueryIn = Annotated[PageQuery, Depends(page_query)]


async def take_minutes(request: Request) -> Response:
    """POST /agent/v1/minutes"""
    node_id, body = await signed_by_node(request, BATCH_BYTES_MAX)
    answer = await service.take(get_ctx(request), node_id, decode(body, MinuteBatch))
    return Response(encode(answer), media_type="application/json")


router.add_route("/agent/v1/minutes", take_minutes, methods=["POST"])


@router.get("/api/v1/disputes")
async def list_disputes(ctx: CtxIn, query: QueryIn, principal: ReaderIn) -> Page[DisputeView]:
    """Leases that you pay for or earn by, of which we and the node count differently."""
    own = principal.account_id
    async with ctx.db.begin() as tx:
        rows = await store.disputes(tx, own, after=query.after_one(), limit=query.limit + 1)
    return page_of(
        rows, query, key=lambda row: row.dispute_id, show=lambda row: show_dispute(row, own)
    )


@router.get("/api/v1/leases/{lease_id}/minutes")
async def lease_minutes(
    ctx: CtxIn,
    principal: ReaderIn,
    lease_id: str,
    after: Annotated[int, Query(ge=-1, description="Records above this number.")] = -1,
) -> ChainView:
    """What the node signed of a lease's time, minute by minute, for who pays or earns by it."""
    own = LeaseId.parse(lease_id)
    async with ctx.db.begin() as tx:
        parties = await billing.lease_parties(tx, own)
        row = await store.known_chain(tx, own)
        yours = parties is not None and principal.account_id in (parties.payer, parties.provider)
        if row is None or not yours:
            raise NotFound("There is no such lease of yours with signed minutes.")
        records = await store.minutes(tx, own, after=after, limit=PAGE_MAX)
        keys = await node_keys(tx, row.node_id)
    return ChainView(
        lease_id=own,
        node_id=row.node_id,
        gpus=row.gpus,
        records=row.number,
        container_ns=row.container_ns,
        gpu_ns=row.gpu_ns,
        broken=row.broken,
        settled=row.judged_ns is not None,
        public_keys=list(keys),
        minutes=[show_minute(record) for record in records],
        next_after=records[-1].number if len(records) == PAGE_MAX else None,
    )
