"""What the routes show, and the amounts that bodies mean."""

from __future__ import annotations

from brain import billing
from brain.edge import Page, PageQuery, page_of
from brain.payments import store
from brain.payments.desk import Desk
from brain.payments.models import TopUp
from brain.payments.ports import PaymentError
from brain.payments.reconcile import refund_now
from brain.payments.schemas import (
    ReceiptOut,
    TopUpBody,
    TopUpOut,
    TopUpWhole,
    show_receipt,
    show_topup,
)
from brain.payments.turn import call
from brain.plumbing import Ctx, Tx
from kernel.errors import Conflict, NotFound
from kernel.ids import AccountId, RefundId, TopUpId
from kernel.money import CreditPrice, Money


async def amount_of(ctx: Ctx, body: TopUpBody) -> Money:
    """What is to be credited: dollars as they are, credits at the price of now."""
    if body.amount_usd is not None:
        return Money.usd(body.amount_usd)
    async with ctx.db.begin() as tx:
        price = CreditPrice(await billing.credit_price(tx, ctx.clock.now()))
    return price.to_money(body.credits or 0)


async def minor_of(tx: Tx, topup_id: TopUpId, amount_usd: str | None) -> int | None:
    """Dollars of a top-up in its own minor units, rounded down."""
    row = await store.get(tx, topup_id)
    if amount_usd is None or row is None:
        return None
    return Money.usd(amount_usd).nano // row.rate_nano


async def page(
    ctx: Ctx, account: AccountId | None, query: PageQuery, state: str | None = None
) -> Page[TopUpOut]:
    async with ctx.db.begin() as tx:
        rows = await store.of_account(
            tx, account, before=query.after_one(), limit=query.limit + 1, state=state
        )
        gone = await store.reversals_of(tx, [row.topup_id for row in rows])

    def show(row: TopUp) -> TopUpOut:
        whole = show_topup(row, gone[row.topup_id])
        return TopUpOut(**whole.model_dump(exclude={"client_secret"}))

    return page_of(rows, query, key=lambda row: row.topup_id, show=show)


async def _own(tx: Tx, account: AccountId | None, topup_id: TopUpId) -> TopUp:
    row = await store.get(tx, topup_id)
    if row is None or (account is not None and row.account_id != account):
        raise NotFound("There is no top-up with this id.")
    return row


async def whole(ctx: Ctx, desk: Desk, account: AccountId | None, topup_id: TopUpId) -> TopUpWhole:
    """With the client secret from the processor while its payer must act: it is kept nowhere."""
    async with ctx.db.begin() as tx:
        row = await _own(tx, account, topup_id)
        shown = show_topup(row, await store.reversals(tx, topup_id))
    processor = desk.named(row.processor)
    if account is None or row.state != "needs_payer" or processor is None or not row.reference:
        return shown
    try:
        seen = await call(processor.collector.look(row.reference))
    except PaymentError:
        return shown
    return shown.model_copy(update={"client_secret": seen.client_secret})


async def receipt(ctx: Ctx, account: AccountId | None, topup_id: TopUpId) -> ReceiptOut:
    async with ctx.db.begin() as tx:
        row = await _own(tx, account, topup_id)
        if row.paid_at is None:
            raise Conflict(f"This top-up is {row.state}: there is no receipt.", code="not_paid")
        return show_receipt(row, await store.reversals(tx, topup_id))


async def refunded(
    ctx: Ctx, desk: Desk, account: AccountId | None, topup_id: TopUpId, refund_id: str
) -> TopUpWhole:
    """Bring the refund as far as it goes while its owner waits."""
    await refund_now(ctx, desk, RefundId(refund_id))
    return await whole(ctx, desk, account, topup_id)
