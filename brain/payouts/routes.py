"""HTTP of payouts: where a provider is paid, its payouts and statements; the administrators' part.

API keys may read and never move money.
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request
from starlette.responses import Response

from brain import billing
from brain.edge import Page, PageQuery, get_ctx, page_of, page_query
from brain.identity import Principal, account_user, admin_user, anyone
from brain.payouts import core, service, statements, store
from brain.payouts.schemas import (
    AdminPayoutView,
    CurrencyRateBody,
    CurrencyRateView,
    DestinationBody,
    DestinationView,
    PayoutView,
    ResolveBody,
    StatementView,
    show_destination,
    show_for_admin,
    show_payout,
    show_statement,
)
from brain.payouts.service import PayoutTerms, Wish
from brain.payouts.states import PayoutEvent, PayoutState
from brain.plumbing import Ctx, audit
from kernel.errors import BadInput, NotFound
from kernel.ids import PayoutId
from kernel.money import Money

router = APIRouter(tags=["payouts"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
UserIn = Annotated[Principal, Depends(account_user)]
ReaderIn = Annotated[Principal, Depends(anyone("read"))]
AdminIn = Annotated[Principal, Depends(admin_user)]
QueryIn = Annotated[PageQuery, Depends(page_query)]


def get_terms(request: Request) -> PayoutTerms:
    """Who pays, and how often; wiring puts it on the app."""
    terms: PayoutTerms = request.app.state.payout_terms
    return terms


TermsIn = Annotated[PayoutTerms, Depends(get_terms)]


@router.put("/api/v1/provider/payout-destination")
async def set_destination(
    body: DestinationBody, ctx: CtxIn, principal: UserIn, terms: TermsIn
) -> DestinationView:
    """Say where you are paid. Send it again for a fresh address at which to complete it."""
    if body.method == "stripe" and body.number is not None:
        raise BadInput("Stripe asks for your bank account itself; leave out number.")
    wish = Wish(body.method, body.number, body.currency, body.automatic)
    made = await service.register(ctx, terms, principal.account_id, wish)
    return show_destination(made.row, made.url)


@router.get("/api/v1/provider/payout-destination")
async def get_destination(ctx: CtxIn, principal: ReaderIn, terms: TermsIn) -> DestinationView:
    """Where you are paid, as its processor sees it now."""
    return show_destination(await service.refresh(ctx, terms, principal.account_id))


@router.post("/api/v1/provider/payouts", status_code=201)
async def request_payout(ctx: CtxIn, principal: UserIn, terms: TermsIn) -> PayoutView:
    """Ask for all that is payable. Once a period: of requests at once one wins, the others are
    409."""
    return show_payout(await service.request(ctx, terms, principal.account_id))


@router.get("/api/v1/provider/payouts")
async def list_payouts(ctx: CtxIn, query: QueryIn, principal: ReaderIn) -> Page[PayoutView]:
    """Your payouts, the newest first."""
    async with ctx.db.begin() as tx:
        rows = await store.of_account(
            tx, principal.account_id, before=query.after_one(), limit=query.limit + 1
        )
    return page_of(rows, query, key=lambda row: row.payout_id, show=show_payout)


@router.get("/api/v1/provider/payouts/{payout_id}")
async def get_payout(ctx: CtxIn, principal: ReaderIn, payout_id: str) -> PayoutView:
    """One of your payouts."""
    async with ctx.db.begin() as tx:
        row = await store.get(tx, PayoutId.parse(payout_id), principal.account_id)
    if row is None:
        raise NotFound("You have no such payout.")
    return show_payout(row)


@router.get("/api/v1/provider/statements/{period}", response_model=StatementView)
async def get_statement(
    ctx: CtxIn,
    principal: ReaderIn,
    period: str,
    form: Annotated[Literal["json", "csv"], Query(alias="format")] = "json",
) -> StatementView | Response:
    """What stood on your earnings, a line for each node, your payouts; of a month (2026-11), a
    week (2026-W47) or a day (2026-11-22), UTC."""
    span = core.span_of(period)
    async with ctx.db.begin() as tx:
        found = await statements.statement(tx, principal.account_id, span)
    if form == "csv":
        headers = {"content-disposition": f'attachment; filename="earnings-{period}.csv"'}
        return Response(statements.as_csv(found), media_type="text/csv", headers=headers)
    return show_statement(period, found)


@router.get("/api/v1/admin/payouts")
async def admin_payouts(
    ctx: CtxIn,
    query: QueryIn,
    principal: AdminIn,
    state: Annotated[PayoutState | None, Query(description="Only those in this state.")] = None,
) -> Page[AdminPayoutView]:
    """Everybody's payouts, the newest first. Those that are unknown wait for a person."""
    async with ctx.db.begin() as tx:
        rows = await store.in_state(tx, state, before=query.after_one(), limit=query.limit + 1)
    return page_of(rows, query, key=lambda row: row.payout_id, show=show_for_admin)


@router.post("/api/v1/admin/payouts/{payout_id}/resolve")
async def resolve_payout(
    body: ResolveBody, ctx: CtxIn, principal: AdminIn, payout_id: str
) -> AdminPayoutView:
    """Settle a payout that is unknown, after you asked the processor: `paid` needs its reference,
    `failed` makes the money payable again."""
    if body.outcome == "paid" and body.reference is None:
        raise BadInput("Say the processor's reference of the payment.", param="reference")
    event = PayoutEvent.PAY if body.outcome == "paid" else PayoutEvent.FAIL
    id = PayoutId.parse(payout_id)
    row = await service.resolve(ctx, principal.actor, id, event, body.reason, body.reference)
    return show_for_admin(row)


@router.post("/api/v1/admin/currency-rates", status_code=201)
async def set_rate(body: CurrencyRateBody, ctx: CtxIn, principal: AdminIn) -> CurrencyRateView:
    """What a unit of a currency is worth from now on. Amounts of before keep their rate."""
    worth = Money.usd(body.usd_per_unit)
    now = ctx.clock.now()
    async with ctx.db.begin() as tx:
        await billing.set_currency_rate(tx, body.currency, worth, now)
        rate = await billing.currency_rate(tx, body.currency, now)
        detail: audit.Detail = {"currency": body.currency, "nano_per_unit": rate.nano_per_unit}
        await audit.record(tx, ctx, principal.actor, "currency.rate", body.currency, detail)
    return CurrencyRateView(
        currency=rate.currency, nano_per_unit=rate.nano_per_unit, version=rate.version
    )
