"""Routes for people: balance, transactions, and credits granted by an administrator."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends

from brain.billing.core.posting import pending
from brain.billing.schemas import BalanceOut, CreditsBody, CreditsOut, TransactionOut
from brain.billing.service.grants import Grant, grant
from brain.billing.store import holds, journal, rates
from brain.billing.store.journal import Line
from brain.billing.store.rates import RateName
from brain.edge import Page, PageQuery, get_ctx, page_of, page_query
from brain.identity import Principal, account_by_email, account_exists, account_user, admin_user
from brain.plumbing import Ctx, audit
from kernel.errors import NotFound
from kernel.ids import AccountId
from kernel.money import CreditPrice, Money

router = APIRouter(prefix="/api/v1", tags=["billing"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
UserIn = Annotated[Principal, Depends(account_user)]
AdminIn = Annotated[Principal, Depends(admin_user)]


@router.get("/billing/balance")
async def balance(principal: UserIn, ctx: CtxIn) -> BalanceOut:
    """What the account has, what of it is set aside, and what may be spent."""
    account = principal.account_id
    async with ctx.db.begin() as tx:
        views = await journal.balances(tx, [account, pending(account)])
        price = CreditPrice(await rates.rate(tx, RateName.CREDIT_PRICE, ctx.clock.now()))
        stopped = await holds.stopped(tx, account)
    own = views[account]
    return BalanceOut(
        account_id=account,
        posted_nano=own.posted,
        held_nano=own.held,
        free_nano=own.free,
        free_usd=str(Money(own.free)),
        pending_nano=views[pending(account)].posted,
        credits=price.whole_credits(Money(own.free)),
        credit_price_nano=price.nano,
        stopped=stopped,
    )


@router.get("/billing/transactions")
async def transactions(
    principal: UserIn, ctx: CtxIn, query: Annotated[PageQuery, Depends(page_query)]
) -> Page[TransactionOut]:
    """The account's statement, newest first."""
    async with ctx.db.begin() as tx:
        lines = await journal.statement(
            tx, principal.account_id, before=query.after_one(), limit=query.limit + 1
        )
    return page_of(lines, query, key=lambda line: line.tx_id, show=_shown)


def _shown(line: Line) -> TransactionOut:
    return TransactionOut(
        transaction_id=line.tx_id,
        kind=line.kind,
        memo=line.memo,
        amount_nano=line.amount_nano,
        amount_usd=str(Money(line.amount_nano)),
        at=line.at.isoformat(),
    )


@router.post("/admin/credits", status_code=201)
async def credits(body: CreditsBody, principal: AdminIn, ctx: CtxIn) -> CreditsOut:
    """Grant credits. The same idempotency key with the same body is granted once."""
    account = await _account(ctx, body)
    given = Grant(
        account=account,
        kind=body.kind,
        reason=body.reason,
        idempotency_key=body.idempotency_key,
        credits=body.credits,
    )
    done = await grant(ctx, given)
    async with ctx.db.begin() as tx:
        detail = {"credits": body.credits, "kind": body.kind.value, "transaction": done}
        await audit.record(tx, ctx, principal.actor, "billing.grant", account, detail)
    return CreditsOut(transaction_id=done, account_id=account, credits=body.credits)


async def _account(ctx: Ctx, body: CreditsBody) -> AccountId:
    async with ctx.db.begin() as tx:
        if body.account_id is not None:
            account_id = AccountId.parse(body.account_id)
            if not await account_exists(tx, account_id):
                raise NotFound("There is no account with this id.", param="account_id")
            return account_id
        found = await account_by_email(tx, body.email or "")
    if found is None:
        raise NotFound("No account has this address.", param="email")
    return found
