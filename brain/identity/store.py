"""All SQL of identity."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import func, or_, select, update

from brain.identity.core import KeyFacts
from brain.identity.models import Account, ApiKey, User
from brain.plumbing import Tx
from kernel.clock import NS
from kernel.ids import AccountId, KeyId, UserId
from kernel.wire.gateway import KeyRow

LAST_USE_STEP = timedelta(seconds=60)
ADDRESSES_MAX = 20  # of an account that a notice goes to


async def user_by_email(tx: Tx, email: str) -> User | None:
    return await tx.scalar(select(User).where(User.email == email))


async def user_by_id(tx: Tx, user_id: UserId) -> User | None:
    return await tx.get(User, user_id)


async def account_by_id(tx: Tx, account_id: AccountId) -> Account | None:
    return await tx.get(Account, account_id)


async def account_exists(tx: Tx, account_id: AccountId) -> bool:
    return await account_by_id(tx, account_id) is not None


async def key_facts(tx: Tx, digest: str) -> KeyFacts | None:
    found = await tx.scalar(select(ApiKey).where(ApiKey.digest == digest))
    if found is None:
        return None
    return KeyFacts(
        account_id=found.account_id,
        key_id=found.id,
        scopes=frozenset(found.scopes),
        expires_at=found.expires_at,
        revoked_at=found.revoked_at,
    )


async def key_used(tx: Tx, key_id: KeyId, now: datetime) -> None:
    """Note the last use; at most once a minute, because every request asks for it."""
    stale = or_(ApiKey.last_used_at.is_(None), ApiKey.last_used_at < now - LAST_USE_STEP)
    await tx.execute(
        update(ApiKey)
        .where(ApiKey.id == key_id, stale)
        .values(last_used_at=now)
        .execution_options(synchronize_session=False)
    )


async def key_of_account(tx: Tx, account_id: AccountId, key_id: KeyId) -> ApiKey | None:
    """The key, locked for a change, if it is this account's."""
    return await tx.scalar(
        select(ApiKey).where(ApiKey.id == key_id, ApiKey.account_id == account_id).with_for_update()
    )


async def keys_of_account(
    tx: Tx, account_id: AccountId, *, before: KeyId | None, limit: int
) -> list[ApiKey]:
    """Newest first."""
    asked = select(ApiKey).where(ApiKey.account_id == account_id)
    if before is not None:
        asked = asked.where(ApiKey.id < before)
    return list(await tx.scalars(asked.order_by(ApiKey.id.desc()).limit(limit)))


def as_key_row(found: ApiKey) -> KeyRow:
    """What a gateway needs to know of a key."""
    expires = found.expires_at
    return KeyRow(
        key_id=found.id,
        digest=found.digest,
        account_id=found.account_id,
        scopes=list(found.scopes),
        expires_at_ns=0 if expires is None else int(expires.timestamp()) * NS,
        models=None if found.models is None else list(found.models),
        cost_limit_nano=found.cost_limit_nano,
        requests_per_minute=found.requests_per_minute or 0,
        tokens_per_minute=found.tokens_per_minute or 0,
        requests_at_once=found.requests_at_once or 0,
    )


async def key_row(tx: Tx, key_id: KeyId) -> KeyRow | None:
    """The key as gateways know it; None when it does not exist or was revoked."""
    found = await tx.get(ApiKey, key_id)
    return None if found is None or found.revoked_at is not None else as_key_row(found)


async def all_key_rows(tx: Tx) -> list[KeyRow]:
    """Every key that is not revoked. (Gateways judge expiry by their own clock.)"""
    found = await tx.scalars(select(ApiKey).where(ApiKey.revoked_at.is_(None)))
    return [as_key_row(one) for one in found]


async def addresses_of(tx: Tx, account_id: AccountId) -> list[str]:
    """Where the account's users are written to."""
    found = await tx.scalars(
        select(User.email)
        .where(User.account_id == account_id, User.disabled_at.is_(None))
        .order_by(User.id)
        .limit(ADDRESSES_MAX)
    )
    return list(found)


async def account_by_email(tx: Tx, email: str) -> AccountId | None:
    return await tx.scalar(select(User.account_id).where(User.email == email.strip().casefold()))


async def count_keys(tx: Tx, account_id: AccountId) -> int:
    """How many keys of the account work, or would if they were not expired."""
    asked = select(func.count()).where(ApiKey.account_id == account_id, ApiKey.revoked_at.is_(None))
    return await tx.scalar(asked) or 0
