"""Routes for people: balance, transactions (CSV too), and credits granted by an administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from pydantic import AwareDatetime, StringConstraints
from starlette.responses import StreamingResponse

from brain.billing.core import table_text
from brain.billing.core.posting import pending
from brain.billing.schemas import BalanceOut, CreditsBody, CreditsOut, TransactionOut
from brain.billing.service.grants import Grant, grant
from brain.billing.store import holds, journal, rates, statements
from brain.billing.store.journal import Line
from brain.billing.store.rates import RateName
from brain.billing.store.statements import Wanted
from brain.edge import Page, PageQuery, get_ctx, page_of, page_query
from brain.identity import (
    Principal,
    account_by_email,
    account_exists,
    account_user,
    admin_user,
    anyone,
)
from brain.plumbing import Ctx, audit
from kernel.errors import BadInput, NotFound
from kernel.ids import AccountId
from kernel.money import CreditPrice, Money

router = APIRouter(prefix="/api/v1", tags=["billing"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
UserIn = Annotated[Principal, Depends(account_user)]
ReaderIn = Annotated[Principal, Depends(anyone("read"))]
AdminIn = Annotated[Principal, Depends(admin_user)]

Kind = Annotated[str, StringConstraints(max_length=40, pattern=r"^[a-z_]+$")]
CSV_LINES_AT_ONCE = 1000


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


def wanted_lines(
    kind: Annotated[
        list[Kind] | None,
        Query(max_length=20, description="Only these, such as purchase or lease_time; repeatable."),
    ] = None,
    since: Annotated[AwareDatetime | None, Query(description="Included.")] = None,
    until: Annotated[AwareDatetime | None, Query(description="Not included.")] = None,
) -> Wanted:
    """FastAPI dependency: which lines of the statement are asked for."""
    if since is not None and until is not None and until <= since:
        raise BadInput("The time ends before it begins.", param="until")
    return Wanted(tuple(kind or ()), since, until)


@router.get("/billing/transactions")
async def transactions(
    principal: ReaderIn,
    ctx: CtxIn,
    query: Annotated[PageQuery, Depends(page_query)],
    wanted: Annotated[Wanted, Depends(wanted_lines)],
) -> Page[TransactionOut]:
    """The account's statement, newest first."""
    async with ctx.db.begin() as tx:
        lines = await statements.statement(
            tx, principal.account_id, wanted, before=query.after_one(), limit=query.limit + 1
        )
    return page_of(lines, query, key=lambda line: line.tx_id, show=_shown)


@router.get("/billing/transactions.csv", response_class=StreamingResponse)
async def transactions_csv(
    principal: ReaderIn, ctx: CtxIn, wanted: Annotated[Wanted, Depends(wanted_lines)]
) -> StreamingResponse:
    """The same as CSV, the whole of it, sent as it is read. No cell is run by a spreadsheet."""
    return StreamingResponse(
        _csv(ctx, principal.account_id, wanted),
        media_type="text/csv; charset=utf-8",
        headers={"content-disposition": 'attachment; filename="transactions.csv"'},
    )


async def _csv(ctx: Ctx, account: AccountId, wanted: Wanted) -> AsyncIterator[str]:
    """A page a transaction of the database: a slow reader holds none open."""
    yield table_text.lines([("transaction_id", "at", "kind", "memo", "amount_usd", "amount_nano")])
    before: str | None = None
    while True:
        async with ctx.db.begin() as tx:
            page = await statements.statement(
                tx, account, wanted, before=before, limit=CSV_LINES_AT_ONCE
            )
        yield table_text.lines(
            (
                line.tx_id,
                line.at.astimezone(UTC).isoformat(),
                line.kind,
                line.memo,
                table_text.decimal_dollars(line.amount_nano),
                str(line.amount_nano),
            )
            for line in page
        )
        if len(page) < CSV_LINES_AT_ONCE:
            return
        before = page[-1].tx_id


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
