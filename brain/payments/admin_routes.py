"""HTTP of payments for administrators: everybody's top-ups, refunds at any time."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from brain.edge import Page, PageQuery, attempt, page_query, recall, remember
from brain.identity import Principal, admin_user
from brain.payments import refunds, service, showing
from brain.payments.refunds import RefundWish
from brain.payments.routes import CtxIn, DeskIn, IdIn, KeyIn
from brain.payments.schemas import RefundBody, SettleBody, TopUpOut, TopUpWhole
from brain.payments.states import TopUpState
from brain.plumbing import audit
from kernel.ids import AccountId, TopUpId

router = APIRouter(prefix="/api/v1/admin/payments", tags=["payments"])

AdminIn = Annotated[Principal, Depends(admin_user)]


@router.get("/topups")
async def topups(
    principal: AdminIn,
    ctx: CtxIn,
    query: Annotated[PageQuery, Depends(page_query)],
    account_id: Annotated[str | None, Query(max_length=60)] = None,
    state: Annotated[TopUpState | None, Query(description="Such as parked.")] = None,
) -> Page[TopUpOut]:
    """Top-ups of all accounts or of one, newest first. Look at those that are parked."""
    account = None if account_id is None else AccountId.parse(account_id)
    return await showing.page(ctx, account, query, None if state is None else state.value)


@router.get("/topups/{topup_id}")
async def topup(principal: AdminIn, ctx: CtxIn, desk: DeskIn, topup_id: IdIn) -> TopUpWhole:
    """Any account's top-up, without what only its payer may have."""
    return await showing.whole(ctx, desk, None, TopUpId.parse(topup_id))


@router.post("/topups/{topup_id}/settle")
async def settle(
    body: SettleBody, principal: AdminIn, ctx: CtxIn, desk: DeskIn, topup_id: IdIn
) -> TopUpWhole:
    """Close a parked top-up, once you looked at it at its processor and gave or returned by hand
    what was due. It credits nothing."""
    wanted = TopUpId.parse(topup_id)
    async with ctx.db.begin() as tx:
        await service.settle_by_hand(tx, ctx, wanted, body.reason)
        detail = {"reason": body.reason}
        await audit.record(tx, ctx, principal.actor, "payments.settled", wanted, detail)
    return await showing.whole(ctx, desk, None, wanted)


@router.post("/topups/{topup_id}/refund", status_code=201)
async def refund(
    body: RefundBody, principal: AdminIn, ctx: CtxIn, desk: DeskIn, topup_id: IdIn, key: KeyIn
) -> TopUpWhole:
    """Give back what is unused of a top-up, or a part of it, however old it is."""
    wanted = TopUpId.parse(topup_id)
    async with ctx.db.begin() as tx:
        tried = attempt(principal.account_id, f"payments.admin.refund/{wanted}", key, body)
        known = await recall(tx, tried, at=ctx.clock.now())
        if known is None:
            minor = await showing.minor_of(tx, wanted, body.amount_usd)
            wish = RefundWish(wanted, None, minor, body.reason, principal.actor)
            made = await refunds.plan(tx, ctx, desk, wish)
            known = {"refund_id": str(made.refund_id)}
            detail: dict[str, str | int | bool | None] = {
                "refund": str(made.refund_id),
                "minor": made.amount_minor,
            }
            await audit.record(tx, ctx, principal.actor, "payments.refund", wanted, detail)
            await remember(tx, tried, known)
    return await showing.refunded(ctx, desk, None, wanted, known["refund_id"])
