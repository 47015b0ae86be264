"""All SQL of payouts."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update
from sqlalchemy.dialects.postgresql import insert

from brain.payouts.models import Payout, PayoutDestination
from brain.payouts.states import UNDER_WAY, PayoutState
from brain.plumbing import Tx
from kernel.ids import AccountId, PayoutId

_UNDER_WAY = [state.value for state in sorted(UNDER_WAY)]


async def destination(tx: Tx, account: AccountId) -> PayoutDestination | None:
    return await tx.scalar(
        select(PayoutDestination)
        .where(PayoutDestination.account_id == account)
        .execution_options(populate_existing=True)
    )


async def save_destination(tx: Tx, row: PayoutDestination) -> None:
    """Put it in the place of the one that was there."""
    columns = [c.name for c in PayoutDestination.__table__.columns]
    found = insert(PayoutDestination).values({name: getattr(row, name) for name in columns})
    replaced = {name: found.excluded[name] for name in columns if name != "account_id"}
    await tx.execute(
        found.on_conflict_do_update(index_elements=["account_id"], set_=replaced),
        execution_options={"synchronize_session": False},
    )


async def checked(tx: Tx, row: PayoutDestination) -> None:
    """What the processor says of a destination, unless it was changed meanwhile."""
    await tx.execute(
        update(PayoutDestination)
        .where(
            PayoutDestination.account_id == row.account_id,
            PayoutDestination.method == row.method,
            PayoutDestination.address == row.address,
        )
        .values(ready=row.ready, said=row.said, checked_at=row.checked_at)
        .execution_options(synchronize_session=False)
    )


async def get(
    tx: Tx, id: PayoutId, account: AccountId | None = None, *, lock: bool = False
) -> Payout | None:
    """A payout; with ``account`` only if it is theirs."""
    query = select(Payout).where(Payout.payout_id == id)
    if account is not None:
        query = query.where(Payout.account_id == account)
    if lock:
        query = query.with_for_update()
    return await tx.scalar(query.execution_options(populate_existing=True))


async def of_account(
    tx: Tx, account: AccountId, *, before: str | None, limit: int
) -> Sequence[Payout]:
    """The newest first."""
    query = select(Payout).where(Payout.account_id == account)
    if before is not None:
        query = query.where(Payout.payout_id < PayoutId(before))
    return list(await tx.scalars(query.order_by(Payout.payout_id.desc()).limit(limit)))


async def in_state(
    tx: Tx, state: PayoutState | None, *, before: str | None, limit: int
) -> Sequence[Payout]:
    """Of everybody, the newest first."""
    query = select(Payout)
    if state is not None:
        query = query.where(Payout.state == state.value)
    if before is not None:
        query = query.where(Payout.payout_id < PayoutId(before))
    return list(await tx.scalars(query.order_by(Payout.payout_id.desc()).limit(limit)))


async def under_way(tx: Tx, account: AccountId) -> Payout | None:
    return await tx.scalar(
        select(Payout).where(Payout.account_id == account, Payout.state.in_(_UNDER_WAY))
    )


async def of_period(tx: Tx, account: AccountId, period: str) -> Sequence[Payout]:
    """The newest first; all but one of them failed."""
    rows = await tx.scalars(
        select(Payout)
        .where(Payout.account_id == account, Payout.period == period)
        .order_by(Payout.payout_id.desc())
        .limit(100)
    )
    return list(rows)
