"""Routes for usage, receipts and proofs: what was used, what it cost, and why that is right."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request

from brain.billing.core.receipt import exact_nano, exact_usd, gpu_seconds
from brain.billing.schemas import ProofOut, UsageOut
from brain.billing.service import proofs, receipts, volume_receipts
from brain.billing.store import receipts as store
from brain.billing.store.receipts import UsageRow
from brain.edge import Page, PageQuery, get_ctx, page_of, page_query
from brain.identity import Principal, account_user, anyone
from brain.plumbing import Ctx
from kernel.errors import BadInput, NotFound
from kernel.ids import DeploymentId, Id, LeaseId, RequestId, VolumeId

IdT = TypeVar("IdT", bound=Id)

router = APIRouter(prefix="/api/v1", tags=["billing"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
ReaderIn = Annotated[Principal, Depends(anyone("read"))]
UserIn = Annotated[Principal, Depends(account_user)]


@router.get("/usage")
async def usage(
    principal: ReaderIn,
    ctx: CtxIn,
    query: Annotated[PageQuery, Depends(page_query)],
    deployment: Annotated[
        str | None, Query(max_length=60, description="Only requests to this deployment.")
    ] = None,
) -> Page[UsageOut]:
    """The account's requests, newest first, with their shares of GPU time and what they cost."""
    wanted = None if deployment is None else str(DeploymentId.parse(deployment))
    async with ctx.db.begin() as tx:
        rows = await store.usage(
            tx,
            principal.account_id,
            before=query.after_one(),
            deployment=wanted,
            limit=query.limit + 1,
        )
    return page_of(rows, query, key=lambda row: row.request_id, show=_shown)


def _shown(row: UsageRow) -> UsageOut:
    return UsageOut(
        request_id=row.request_id,
        at_ns=row.start_ns,
        duration_ms=(row.end_ns - row.start_ns) // 1_000_000,
        deployment_id=row.deployment_id,
        model=row.model,
        route=row.route,
        mode=row.mode,
        status=row.status,
        prompt_tokens=row.prompt_tokens,
        completion_tokens=row.completion_tokens,
        gpu_seconds=gpu_seconds(row.ticks),
        cost_nano=exact_nano(row.units),
        cost_usd=exact_usd(row.units),
        settled=row.settled,
    )


@router.get("/receipts/lease/{lease_id}")
async def lease_receipt(lease_id: str, principal: ReaderIn, ctx: CtxIn) -> dict[str, Any]:
    """A lease's bill: its buckets, windows, bills and ledger entries. `ganglion receipt --verify`
    recomputes it from this body alone."""
    return await receipts.lease_receipt(ctx, principal.account_id, _known(LeaseId, lease_id))


@router.get("/receipts/deployment/{deployment_id}")
async def deployment_receipt(deployment_id: str, principal: ReaderIn, ctx: CtxIn) -> dict[str, Any]:
    """The bills of a deployment's newest leases."""
    known = _known(DeploymentId, deployment_id)
    return await receipts.deployment_receipt(ctx, principal.account_id, known)


@router.get("/receipts/volume/{volume_id}")
async def volume_receipt(volume_id: str, principal: ReaderIn, ctx: CtxIn) -> dict[str, Any]:
    """What a kept volume cost, stretch by stretch."""
    known = _known(VolumeId, volume_id)
    return await volume_receipts.volume_receipt(ctx, principal.account_id, known)


@router.get("/receipts/{request_id}")
async def request_receipt(request_id: str, principal: ReaderIn, ctx: CtxIn) -> dict[str, Any]:
    """A request's bill with every span that shared its windows (other accounts' without names).
    `ganglion receipt --verify` recomputes it from this body alone."""
    known = _known(RequestId, request_id)
    return await receipts.request_receipt(ctx, principal.account_id, known)


@router.get("/proofs")
async def proof_list(request: Request, principal: UserIn, ctx: CtxIn) -> list[ProofOut]:
    """The books' proofs, computed now: all of them for an administrator, else those of the
    account's own leases."""
    sources = getattr(request.app.state, "proof_sources", ())
    account = None if principal.is_admin else principal.account_id
    found = await proofs.prove(ctx, account, sources)
    return [
        ProofOut(name=p.name, law=p.law, count=p.count, broken=p.broken, holds=p.holds)
        for p in found
    ]


def _known(kind: type[IdT], text: str) -> IdT:
    """What is no id of this kind does not exist."""
    try:
        return kind.parse(text)
    except BadInput as error:
        raise NotFound(error.detail) from None
