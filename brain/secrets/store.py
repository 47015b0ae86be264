"""All SQL of secrets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert

from brain.plumbing import Tx
from brain.secrets.models import AccountSecret, LeaseSecret
from kernel.ids import AccountId, LeaseId


async def by_name(
    tx: Tx, account_id: AccountId, name: str, *, lock: bool = False
) -> AccountSecret | None:
    query = select(AccountSecret).where(
        AccountSecret.account_id == account_id, AccountSecret.name == name
    )
    if lock:
        query = query.with_for_update()
    return await tx.scalar(query.execution_options(populate_existing=True))


async def by_names(tx: Tx, account_id: AccountId, names: Sequence[str]) -> dict[str, AccountSecret]:
    found = await tx.scalars(
        select(AccountSecret).where(
            AccountSecret.account_id == account_id, AccountSecret.name.in_(names)
        )
    )
    return {row.name: row for row in found}


async def page(
    tx: Tx, account_id: AccountId, *, after: str | None, limit: int
) -> list[AccountSecret]:
    """By name; one more than ``limit`` when there is more."""
    query = select(AccountSecret).where(AccountSecret.account_id == account_id)
    if after is not None:
        query = query.where(AccountSecret.name > after)
    return list(await tx.scalars(query.order_by(AccountSecret.name).limit(limit + 1)))


async def count(tx: Tx, account_id: AccountId) -> int:
    found = await tx.scalar(
        select(func.count())
        .select_from(AccountSecret)
        .where(AccountSecret.account_id == account_id)
    )
    return int(found or 0)


async def keep(tx: Tx, **values: Any) -> AccountSecret:
    """Insert, or replace what stands under this account and name; two at once both succeed."""
    statement = insert(AccountSecret).values(**values)
    changed = {key: statement.excluded[key] for key in ("sealed", "changed_at")}
    found = await tx.scalars(
        statement.on_conflict_do_update(
            index_elements=["account_id", "name"], set_=changed
        ).returning(AccountSecret),
        execution_options={"populate_existing": True},
    )
    return found.one()


async def remove(tx: Tx, row: AccountSecret) -> None:
    await tx.delete(row)
    await tx.flush()


async def keep_for_lease(tx: Tx, lease_id: LeaseId, sealed: bytes) -> None:
    statement = insert(LeaseSecret).values(lease_id=lease_id, sealed=sealed)
    await tx.execute(
        statement.on_conflict_do_update(index_elements=["lease_id"], set_={"sealed": sealed})
    )


async def of_lease(tx: Tx, lease_id: LeaseId) -> bytes | None:
    found: bytes | None = await tx.scalar(
        select(LeaseSecret.sealed).where(LeaseSecret.lease_id == lease_id)
    )
    return found


async def forget_lease(tx: Tx, lease_id: LeaseId) -> None:
    await tx.execute(delete(LeaseSecret).where(LeaseSecret.lease_id == lease_id))
