"""Credits: granting them, what was bought, and whether an account may spend."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import structlog
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import insert

from brain.billing.core.posting import (
    ADJUSTMENTS,
    PROMOTIONS,
    PURCHASES,
    Asset,
    transfer,
)
from brain.billing.models import AccountStanding, Balance
from brain.billing.service.group_commit import post
from brain.billing.store import holds, journal, leases, rates
from brain.billing.store.rates import RateName
from brain.plumbing import Ctx, Tx, changes
from kernel.errors import BadInput
from kernel.ids import AccountId, TxId
from kernel.money import CreditPrice, Money
from kernel.wire.gateway import AccountRow

CREDITS_MAX = 1_000_000_000

_log = structlog.get_logger()


class GrantKind(StrEnum):
    PURCHASE = "purchase"  # paid, and the payment is verified
    PROMO = "promo"
    ADMIN = "admin"


SOURCES = {
    GrantKind.PURCHASE: PURCHASES,
    GrantKind.PROMO: PROMOTIONS,
    GrantKind.ADMIN: ADJUSTMENTS,
}


@dataclass(frozen=True)
class Grant:
    """Either ``credits``, at the price in force, or ``money``. The key makes a repeat safe."""

    account: AccountId
    kind: GrantKind | str
    reason: str
    idempotency_key: str
    credits: int | None = None
    money: Money | None = None


async def grant(ctx: Ctx, grant: Grant) -> TxId:
    """Add to an account's balance; returns when it is committed.

    The same key with the same grant returns the first transaction; with another it is
    ``Conflict``. An account that was stopped for want of credit may go on.
    """
    if grant.kind not in set(GrantKind):
        raise BadInput("A grant is a purchase, a promo or by an admin.", param="kind")
    if (grant.credits is None) == (grant.money is None):
        raise BadInput("Grant either credits or money.", param="credits")
    async with ctx.db.begin() as tx:
        price = CreditPrice(await rates.rate(tx, RateName.CREDIT_PRICE, ctx.clock.now()))
    amount = grant.money if grant.money is not None else price.to_money(grant.credits or 0)
    if not 0 < amount.nano <= CREDITS_MAX * price.nano:
        raise BadInput(f"Grant between 1 and {CREDITS_MAX:,} credits.", param="credits")
    posting = transfer(
        id=ctx.ids.new(TxId),
        key=f"grant/{grant.idempotency_key}",
        kind=str(grant.kind),
        memo=grant.reason,
        source=SOURCES[GrantKind(grant.kind)],
        target=grant.account,
        amount=amount,
    )
    posted = await post(ctx, posting)
    await restart_if_able(ctx, grant.account)
    return posted.id


async def restart_if_able(ctx: Ctx, account: AccountId) -> None:
    """Lift the stop of an account that has money again."""
    async with ctx.db.begin() as tx:
        view = (await journal.lock(tx, [(account, Asset.USD)]))[account]
        if view.free > holds.FLOOR_NANO and await holds.stopped(tx, account):
            await set_standing(tx, ctx, account, stopped=False, reason="there is credit again")


async def lift_stop(tx: Tx, ctx: Ctx, account: AccountId) -> None:
    """Lift the stop of an account when a hold came back and nothing of it runs any more: what is
    left may be spent. While another lease runs, the stop is to end that too. The account's balance
    is locked by the caller."""
    if not await holds.stopped(tx, account) or await leases.covered(tx, account):
        return
    if (await journal.balances(tx, [account]))[account].free > holds.FLOOR_NANO:
        await set_standing(tx, ctx, account, stopped=False, reason="its leases ended; some is left")


async def stop_account(tx: Tx, ctx: Ctx, account: AccountId, reason: str) -> None:
    """No more is admitted for this account, and its deployments are to stop. The balance is
    locked by the caller, so that a stop and a grant never cross. May be repeated."""
    if not await holds.stopped(tx, account):
        await set_standing(tx, ctx, account, stopped=True, reason=reason)


async def set_standing(tx: Tx, ctx: Ctx, account: AccountId, *, stopped: bool, reason: str) -> None:
    now = ctx.clock.now()
    standing: dict[str, object] = {"stopped": stopped, "reason": reason, "at": now}
    if stopped:
        standing |= {"stop_at": now, "stop_reason": reason}
    row = insert(AccountStanding).values(account_id=account, **standing)
    await tx.execute(
        row.on_conflict_do_update(
            index_elements=["account_id"], set_={name: row.excluded[name] for name in standing}
        )
    )
    await changes.mark(tx, "account", account)
    _log.info("account_standing", account_id=account, stopped=stopped, reason=reason)


async def purchased_credits(tx: Tx, account: AccountId) -> int:
    """Whole credits that the account ever bought, at the newest price of a credit.

    Promotions and grants by an admin do not count.
    """
    price = await rates.newest(tx, RateName.CREDIT_PRICE)
    return CreditPrice(price).whole_credits(Money(await journal.purchased(tx, account)))


async def account_stopped(tx: Tx, account: AccountId) -> bool:
    """Is this account stopped for want of credit? Its deployments are then to be stopped."""
    return await holds.stopped(tx, account)


async def can_spend(tx: Tx, account: AccountId) -> bool:
    """Is there free money, and is the account not stopped? What a new expense asks first."""
    if await holds.stopped(tx, account):
        return False
    return (await journal.balances(tx, [account]))[account].free > 0


async def stopped_accounts(tx: Tx) -> list[AccountId]:
    """Every stopped account."""
    rows = await tx.scalars(
        select(AccountStanding.account_id)
        .where(AccountStanding.stopped)
        .order_by(AccountStanding.account_id)
    )
    return list(rows)


async def account_row(tx: Tx, account: AccountId) -> AccountRow:
    """What a gateway is told of an account. The cache salt is not billing's and stays empty."""
    return AccountRow(account_id=str(account), stopped=await holds.stopped(tx, account))


async def all_account_rows(tx: Tx) -> list[AccountRow]:
    """Every account that ever had money or was stopped; another one is simply not stopped."""
    moneyed: Sequence[str] = (
        await tx.scalars(
            select(Balance.ledger_account).where(
                Balance.asset == Asset.USD.value,
                Balance.ledger_account.like(r"acct\_%"),
                ~Balance.ledger_account.contains(":"),
            )
        )
    ).all()
    stopped = {str(account) for account in await stopped_accounts(tx)}
    return [
        AccountRow(account_id=account, stopped=account in stopped)
        for account in sorted({*moneyed, *stopped})
    ]
