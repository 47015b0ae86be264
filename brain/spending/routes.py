"""HTTP of spending: an account's own limits and warnings."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request

from brain import billing
from brain.billing import Limited, Span
from brain.edge import get_ctx
from brain.identity import Principal, account_user, anyone, key_of_account
from brain.plumbing import Ctx, Tx, audit
from brain.spending import keys, store
from brain.spending.schemas import AlertBody, AlertView, KeyLimitView, LimitsBody, LimitView
from kernel.errors import BadInput, NotFound
from kernel.ids import KeyId
from kernel.money import Money

router = APIRouter(prefix="/api/v1/billing", tags=["billing"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
UserIn = Annotated[Principal, Depends(account_user)]
ReaderIn = Annotated[Principal, Depends(anyone("read"))]


@router.get("/limits")
async def limits(principal: ReaderIn, ctx: CtxIn) -> list[LimitView]:
    """The account's limits, what is spent of each, and what is left."""
    async with ctx.db.begin() as tx:
        found = await billing.limited(tx, principal.account_id, ctx.clock.now())
    return [_shown(one) for one in found]


@router.put("/limits")
async def set_limits(body: LimitsBody, principal: UserIn, ctx: CtxIn) -> list[LimitView]:
    """Set both limits. What runs beyond a lower one is stopped when its cover is renewed."""
    account = principal.account_id
    async with ctx.db.begin() as tx:
        wanted = {Span.DAY: body.day_nano, Span.MONTH: body.month_nano}
        await billing.set_limits(tx, account, wanted)
        found = await billing.limited(tx, account, ctx.clock.now())
        detail: audit.Detail = {span.value: nano for span, nano in wanted.items()}
        await audit.record(tx, ctx, principal.actor, "spending.limits", account, detail)
    return [_shown(one) for one in found]


def _shown(one: Limited) -> LimitView:
    return LimitView(
        span=one.span.value,
        limit_nano=one.limit_nano,
        spent_nano=one.spent_nano,
        held_nano=one.held_nano,
        left_nano=one.left_nano,
        left_usd=str(Money(one.left_nano)),
    )


@router.get("/limits/keys/{key_id}")
async def key_limits(key_id: str, principal: ReaderIn, ctx: CtxIn) -> list[KeyLimitView]:
    """The limits of one API key, and what it used of them."""
    async with ctx.db.begin() as tx:
        key = await _own_key(tx, principal, key_id)
        return [KeyLimitView(**vars(one)) for one in await keys.key_limits(tx, key)]


@router.put("/limits/keys/{key_id}")
async def set_key_limits(
    key_id: str, body: LimitsBody, principal: UserIn, ctx: CtxIn
) -> list[KeyLimitView]:
    """Set both limits of one API key. They are kept on settled use, within some twenty seconds."""
    async with ctx.db.begin() as tx:
        key = await _own_key(tx, principal, key_id)
        wanted = {Span.DAY: body.day_nano, Span.MONTH: body.month_nano}
        await keys.set_key_limits(tx, principal.account_id, key, wanted)
        found = await keys.key_limits(tx, key)
        detail: audit.Detail = {span.value: nano for span, nano in wanted.items()}
        await audit.record(tx, ctx, principal.actor, "spending.key_limits", key, detail)
    return [KeyLimitView(**vars(one)) for one in found]


async def _own_key(tx: Tx, principal: Principal, text: str) -> KeyId:
    """The key, if it is this account's; what is no id does not exist."""
    try:
        key = KeyId.parse(text)
    except BadInput as error:
        raise NotFound(error.detail) from None
    if await key_of_account(tx, principal.account_id, key) is None:
        raise NotFound(f"There is no API key {key}.")
    return key


@router.get("/alerts")
async def alerts(principal: ReaderIn, ctx: CtxIn) -> AlertView:
    """Below which balance a warning is mailed, and to whom."""
    async with ctx.db.begin() as tx:
        row = await store.alert(tx, principal.account_id)
        return AlertView(threshold_nano=row.threshold_nano, email=row.email, below=row.below)


@router.put("/alerts")
async def set_alerts(body: AlertBody, principal: UserIn, ctx: CtxIn, request: Request) -> AlertView:
    """Say below which balance, and where, a warning is mailed: once a crossing."""
    account, line = principal.account_id, body.threshold_nano
    if line is None:
        line = Money.usd(str(request.app.state.settings.low_balance_usd)).nano
    async with ctx.db.begin() as tx:
        free = (await billing.balances(tx, [account]))[account].free
        await store.set_alert(
            tx, account, threshold_nano=body.threshold_nano, email=body.email, below=free < line
        )
        await audit.record(tx, ctx, principal.actor, "spending.alerts", account)
    return await alerts(principal, ctx)
