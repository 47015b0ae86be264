"""Limits of single API keys: settled use is looked at every few seconds, gateways are told.

An account's limit is reserved before it is spent; a key's is not, as slices of credit are an
account's. A key may go beyond its limit by what it uses until its use is settled and gateways
have heard: some twenty seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

import structlog
from sqlalchemy import delete, select, update
from sqlalchemy.dialects.postgresql import insert

from brain import billing
from brain.billing import Span
from brain.plumbing import Ctx, Tx, changes
from brain.spending.models import KeyDay, KeyLimit
from kernel.ids import AccountId, KeyId
from kernel.money import Money

PAGE = 500
SETTLED_DAYS = 2  # use that is older has all been settled

_log = structlog.get_logger()


async def set_key_limits(
    tx: Tx, account: AccountId, key: KeyId, wanted: Mapping[Span, int | None]
) -> None:
    """Replace these limits of the account's key; None takes one away."""
    for span, nano in wanted.items():
        if nano is None:
            await tx.execute(
                delete(KeyLimit).where(KeyLimit.key_id == key, KeyLimit.span == span.value)
            )
            continue
        row = insert(KeyLimit).values(
            key_id=key,
            span=span.value,
            account_id=account,
            limit_nano=nano,
            spent_nano=0,
            reached=False,
        )
        await tx.execute(
            row.on_conflict_do_update(index_elements=["key_id", "span"], set_={"limit_nano": nano})
        )
    await changes.mark(tx, "key", key)


@dataclass(frozen=True)
class KeySpan:
    span: Span
    limit_nano: int
    spent_nano: int
    reached: bool


async def key_limits(tx: Tx, key: KeyId) -> list[KeySpan]:
    rows = await tx.scalars(select(KeyLimit).where(KeyLimit.key_id == key).order_by(KeyLimit.span))
    return [KeySpan(Span(r.span), r.limit_nano, r.spent_nano, r.reached) for r in rows]


async def keys_reached(tx: Tx, key: KeyId | None = None) -> Mapping[KeyId, str]:
    """Keys that may not be used now, and what their users are told; of one key where named."""
    query = select(KeyLimit).where(KeyLimit.reached)
    if key is not None:
        query = query.where(KeyLimit.key_id == key)
    return {row.key_id: _sentence(row) for row in await tx.scalars(query)}


def _sentence(row: KeyLimit) -> str:
    return (
        f"This API key's limit of {Money(row.limit_nano)} a {row.span} is reached."
        f" Its owner may raise it; it begins anew with the next {row.span} (UTC)."
    )


async def watch_keys(ctx: Ctx) -> int:
    """Look at every key that has a limit. Returns how many changed sides. May run any number of
    times at once: each writes what it saw."""
    after, changed = "", 0
    while True:
        async with ctx.db.begin() as tx:
            rows = await tx.execute(
                select(KeyLimit.key_id, KeyLimit.account_id)
                .where(KeyLimit.key_id > KeyId(after))
                .distinct()
                .order_by(KeyLimit.key_id)
                .limit(PAGE)
            )
            page = rows.all()
        for key, account in page:
            try:
                async with ctx.db.begin() as tx:
                    changed += await _watch(tx, ctx.clock.now(), account, key)
            except Exception as error:  # of this key alone: the others must not wait for it
                _log.exception("key_not_watched", key_id=key, error=repr(error))
        if len(page) < PAGE:
            return changed
        after = page[-1][0]


async def _watch(tx: Tx, now: datetime, account: AccountId, key: KeyId) -> int:
    limits = list(
        await tx.scalars(
            select(KeyLimit).where(KeyLimit.key_id == key).order_by(KeyLimit.span).with_for_update()
        )
    )
    today = now.astimezone(UTC).date()
    monthly = any(row.span == Span.MONTH.value for row in limits)
    used = await _used(tx, account, key, today.replace(day=1) if monthly else today, today)
    spent = {Span.DAY.value: used.get(today, 0), Span.MONTH.value: sum(used.values())}
    changed = 0
    for row in limits:
        reached = spent[row.span] >= row.limit_nano
        changed += reached != row.reached
        await tx.execute(
            update(KeyLimit)
            .where(KeyLimit.key_id == key, KeyLimit.span == row.span)
            .values(spent_nano=spent[row.span], reached=reached)
        )
    if changed:
        await changes.mark(tx, "key", key)
    return changed


async def _used(
    tx: Tx, account: AccountId, key: KeyId, first: date, today: date
) -> dict[date, int]:
    """By day from ``first`` on. Days that are long over are summed once."""
    rows = await tx.execute(
        select(KeyDay.day, KeyDay.nano).where(KeyDay.key_id == key, KeyDay.day >= first)
    )
    known = {row[0]: int(row[1]) for row in rows}
    begins = first
    while begins in known:
        begins += timedelta(days=1)
    used = known | await billing.key_use(tx, account, key, begins)
    over = today - timedelta(days=SETTLED_DAYS)
    closed = [begins + timedelta(days=n) for n in range((over - begins).days)]
    if closed:
        values = [{"key_id": key, "day": day, "nano": used.get(day, 0)} for day in closed]
        await tx.execute(insert(KeyDay).values(values).on_conflict_do_nothing())
    return used
