"""HTTP of payments for accounts: top-ups, cards, automatic refill."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request

from brain.edge import (
    Page,
    PageQuery,
    attempt,
    get_ctx,
    idempotency_key,
    page_query,
    recall,
    remember,
)
from brain.identity import Principal, account_user
from brain.payments import refunds, service, showing, store
from brain.payments.desk import Desk
from brain.payments.reconcile import step_now
from brain.payments.refunds import RefundWish
from brain.payments.schemas import (
    AddCardBody,
    CardSetupOut,
    CardsOut,
    PaymentsOut,
    ReceiptOut,
    RefillBody,
    RefillOut,
    RefundBody,
    TopUpBody,
    TopUpOut,
    TopUpWhole,
    show_card,
    show_refill,
)
from brain.payments.service import RefillWish, TopUpWish
from brain.plumbing import Ctx, audit
from kernel.ids import TopUpId
from kernel.money import Money

router = APIRouter(prefix="/api/v1/payments", tags=["payments"])


def get_desk(request: Request) -> Desk:
    desk: Desk = request.app.state.payments
    return desk


CtxIn = Annotated[Ctx, Depends(get_ctx)]
DeskIn = Annotated[Desk, Depends(get_desk)]
UserIn = Annotated[Principal, Depends(account_user)]
IdIn = Annotated[str, Path(max_length=60)]
CardIn = Annotated[str, Path(max_length=100, pattern=r"^[A-Za-z0-9_]+$")]
KeyIn = Annotated[str | None, Depends(idempotency_key)]


@router.get("")
async def payments(principal: UserIn, desk: DeskIn) -> PaymentsOut:
    """What can be paid with here, and within which limits. No method: no processor is set up."""
    return PaymentsOut(
        methods=desk.methods(),
        least_usd=str(desk.terms.least),
        most_usd=str(desk.terms.most),
        refund_days=desk.terms.refund_days,
        publishable_key=desk.terms.publishable_key,
    )


@router.post("/topups", status_code=201)
async def top_up(
    body: TopUpBody, principal: UserIn, ctx: CtxIn, desk: DeskIn, key: KeyIn
) -> TopUpWhole:
    """Add credit. Look at `state`: paid, needs_payer (act at `url`), failed (see `reason`), or on
    its way. With an `Idempotency-Key` a repeat returns the same top-up and charges once."""
    account = principal.account_id
    amount = await showing.amount_of(ctx, body)
    wish = TopUpWish(account, amount, body.method, body.payer)
    tried = attempt(account, "payments.topup", key, body)
    payer = await service.payer_for(ctx, desk, wish)
    async with ctx.db.begin() as tx:
        known = await recall(tx, tried, at=ctx.clock.now())
        if known is None:
            row = await service.open_topup(tx, ctx, desk, wish, payer)
            known = {"topup_id": str(row.topup_id)}
            await remember(tx, tried, known)
    topup_id = TopUpId(known["topup_id"])
    await step_now(ctx, desk, topup_id)
    return await showing.whole(ctx, desk, account, topup_id)


@router.get("/topups")
async def topups(
    principal: UserIn, ctx: CtxIn, query: Annotated[PageQuery, Depends(page_query)]
) -> Page[TopUpOut]:
    """The account's top-ups, newest first."""
    return await showing.page(ctx, principal.account_id, query)


@router.get("/topups/{topup_id}")
async def topup(principal: UserIn, ctx: CtxIn, desk: DeskIn, topup_id: IdIn) -> TopUpWhole:
    """One top-up. While it needs its payer, with the client secret to go on with."""
    return await showing.whole(ctx, desk, principal.account_id, TopUpId.parse(topup_id))


@router.get("/topups/{topup_id}/receipt")
async def receipt(principal: UserIn, ctx: CtxIn, topup_id: IdIn) -> ReceiptOut:
    """What was paid and credited, and what of it went back."""
    return await showing.receipt(ctx, principal.account_id, TopUpId.parse(topup_id))


@router.post("/topups/{topup_id}/cancel")
async def cancel(principal: UserIn, ctx: CtxIn, desk: DeskIn, topup_id: IdIn) -> TopUpWhole:
    """Call off a top-up that nobody paid yet. What is paid meanwhile is credited all the same."""
    wanted = TopUpId.parse(topup_id)
    async with ctx.db.begin() as tx:
        await service.call_off(tx, ctx, principal.account_id, wanted)
    await step_now(ctx, desk, wanted)
    return await showing.whole(ctx, desk, principal.account_id, wanted)


@router.post("/topups/{topup_id}/refund", status_code=201)
async def refund(
    body: RefundBody, principal: UserIn, ctx: CtxIn, desk: DeskIn, topup_id: IdIn, key: KeyIn
) -> TopUpWhole:
    """Take back what is unused of a top-up, or a part of it, to the card that paid."""
    account = principal.account_id
    wanted = TopUpId.parse(topup_id)
    async with ctx.db.begin() as tx:
        tried = attempt(account, f"payments.refund/{wanted}", key, body)
        known = await recall(tx, tried, at=ctx.clock.now())
        if known is None:
            minor = await showing.minor_of(tx, wanted, body.amount_usd)
            wish = RefundWish(wanted, account, minor, body.reason, principal.actor)
            made = await refunds.plan(tx, ctx, desk, wish)
            known = {"refund_id": str(made.refund_id)}
            detail: dict[str, str | int | bool | None] = {
                "refund": str(made.refund_id),
                "minor": made.amount_minor,
            }
            await audit.record(tx, ctx, principal.actor, "payments.refund", wanted, detail)
            await remember(tx, tried, known)
    return await showing.refunded(ctx, desk, account, wanted, known["refund_id"])


@router.get("/cards")
async def cards(principal: UserIn, ctx: CtxIn, desk: DeskIn) -> CardsOut:
    """The saved cards."""
    found = await service.cards(ctx, desk, principal.account_id)
    return CardsOut(cards=[show_card(card) for card in found])


@router.post("/cards", status_code=201)
async def add_card(body: AddCardBody, principal: UserIn, ctx: CtxIn, desk: DeskIn) -> CardSetupOut:
    """Begin to add a card, at the processor: we never see its number."""
    made = await service.add_card(ctx, desk, principal.account_id, page=body.how == "page")
    return CardSetupOut(setup=made.reference, url=made.url, client_secret=made.client_secret)


@router.put("/cards/{card}/default")
async def default_card(principal: UserIn, ctx: CtxIn, desk: DeskIn, card: CardIn) -> CardsOut:
    """Top-ups and automatic refill take this card from now on."""
    await service.make_default(ctx, desk, principal.account_id, card)
    return await cards(principal, ctx, desk)


@router.delete("/cards/{card}", status_code=204)
async def remove_card(principal: UserIn, ctx: CtxIn, desk: DeskIn, card: CardIn) -> None:
    """Forget a card. Automatic refill by it turns itself off."""
    await service.remove_card(ctx, desk, principal.account_id, card)


@router.get("/auto-refill")
async def refill(principal: UserIn, ctx: CtxIn) -> RefillOut:
    """The account's rule of automatic refill, and why it waits."""
    async with ctx.db.begin() as tx:
        return show_refill(await store.rule(tx, principal.account_id))


@router.put("/auto-refill")
async def set_refill(body: RefillBody, principal: UserIn, ctx: CtxIn, desk: DeskIn) -> RefillOut:
    """Opt in, change or opt out. One refill at a time; after a refusal the next try waits an hour,
    and a card that is refused for good turns it off."""
    wish = RefillWish(
        enabled=body.enabled,
        threshold=Money.usd(body.threshold_usd),
        amount=Money.usd(body.amount_usd),
        day_max=Money.usd(body.day_max_usd),
        month_max=Money.usd(body.month_max_usd),
        card=body.card,
    )
    return show_refill(await service.set_refill(ctx, desk, principal.account_id, wish))
