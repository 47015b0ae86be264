"""Routes for administrators: every proof of the books with its seal, and a transaction reversed."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request

from brain.billing.schemas import BooksOut, ProofOut, ReverseBody, ReversedOut, SealOut
from brain.billing.service import proofs
from brain.billing.service.reversals import reverse
from brain.edge import get_ctx
from brain.identity import Principal, admin_user
from brain.plumbing import Ctx, audit
from kernel.errors import BadInput, NotFound
from kernel.ids import TxId

router = APIRouter(prefix="/api/v1/admin", tags=["billing"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
AdminIn = Annotated[Principal, Depends(admin_user)]


@router.get("/proofs")
async def books(request: Request, _: AdminIn, ctx: CtxIn) -> BooksOut:
    """Every identity of the books, proven now over all rows, and the newest seal of the journal:
    who keeps its hash elsewhere can tell later that nothing before it was changed."""
    sources = getattr(request.app.state, "proof_sources", ())
    await proofs.seal(ctx)
    found = await proofs.prove(ctx, sources=sources)
    made = await proofs.newest_seal(ctx)
    return BooksOut(
        holds=all(proof.holds for proof in found),
        proofs=[
            ProofOut(name=p.name, law=p.law, count=p.count, broken=p.broken, holds=p.holds)
            for p in found
        ],
        seal=None if made is None else SealOut(number=made.number, hash=made.hash),
    )


@router.post("/transactions/{transaction_id}/reverse", status_code=201)
async def reverse_one(
    transaction_id: str, body: ReverseBody, principal: AdminIn, ctx: CtxIn
) -> ReversedOut:
    """Post the transaction's way back. Once: a repeat answers the first."""
    try:
        known = TxId.parse(transaction_id)
    except BadInput as error:
        raise NotFound(error.detail) from None
    made = await reverse(ctx, known, reason=body.reason)
    async with ctx.db.begin() as tx:
        detail = {"reversal": made, "reason": body.reason}
        await audit.record(tx, ctx, principal.actor, "billing.reverse", known, detail)
    return ReversedOut(transaction_id=known, reversal_id=made)
