"""Holds: money set aside in one statement, or not at all."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, text, update

from brain.billing.models import AccountStanding, Hold
from brain.plumbing import Tx
from kernel.ids import AccountId, HoldId

FLOOR_NANO = 0  # what a balance may not be held below

# Admission is one statement: the balance is locked, the part that may be granted is decided on
# what it holds at that moment, and the hold is born with it. Zero rows = refused.
_OPEN = text(
    """
    WITH seen AS (
        SELECT ledger_account, posted - held - CAST(:floor AS bigint) AS free FROM balance
        WHERE ledger_account = :account AND asset = 'USD' FOR NO KEY UPDATE
    ), granted AS (
        SELECT ledger_account,
               least(CAST(:want AS bigint), greatest(
                   CAST(:need AS bigint), floor(free / CAST(:shrink AS bigint))::bigint
               )) AS amount
        FROM seen WHERE free >= CAST(:need AS bigint) AND free > 0
          AND NOT EXISTS (SELECT 1 FROM account_standing s
                          WHERE s.account_id = :account AND s.stopped)
    ), raised AS (
        UPDATE balance b SET held = b.held + g.amount FROM granted g
        WHERE b.ledger_account = g.ledger_account AND b.asset = 'USD' RETURNING g.amount
    )
    INSERT INTO hold (id, account_id, purpose, amount, captured, released, state,
                      opened_ns, deadline_ns, returned_ns, boot_id, lease_id)
    SELECT CAST(:id AS text), CAST(:account AS text), CAST(:purpose AS text), amount, 0, 0, 'open',
           CAST(:now AS bigint), CAST(:deadline AS bigint), NULL, CAST(:boot AS text),
           CAST(:lease AS text)
    FROM raised RETURNING amount
    """
)

_EXTEND = text(
    """
    WITH raised AS (
        UPDATE balance SET held = held + CAST(:more AS bigint)
        WHERE ledger_account = :account AND asset = 'USD'
          AND posted - held - CAST(:more AS bigint) >= CAST(:floor AS bigint)
        RETURNING 1
    )
    UPDATE hold SET amount = amount + CAST(:more AS bigint) WHERE id = :id AND state = 'open'
      AND EXISTS (SELECT 1 FROM raised) RETURNING id
    """
)

_CLOSE = text(
    """
    WITH closed AS (
        UPDATE hold h SET released = h.amount - h.captured, state = 'closed'
        FROM (SELECT id, amount - captured - released AS rest FROM hold
              WHERE id = ANY(:ids) AND state = 'open' ORDER BY id FOR UPDATE) o
        WHERE h.id = o.id RETURNING h.account_id, o.rest
    )
    UPDATE balance b SET held = b.held - c.rest
    FROM (SELECT account_id, sum(rest)::bigint AS rest FROM closed GROUP BY 1) c
    WHERE b.ledger_account = c.account_id AND b.asset = 'USD'
    """
)


@dataclass(frozen=True)
class Opening:
    """A hold to open. Grants ``want``, or less down to ``need`` when money is short: ``shrink``
    is the part of the free balance (1/shrink) that one hold may take."""

    id: HoldId
    account: AccountId
    purpose: str
    want_nano: int
    need_nano: int
    now_ns: int
    deadline_ns: int
    shrink: int = 1
    boot_id: str | None = None
    lease_id: str | None = None


async def open_hold(tx: Tx, opening: Opening) -> int | None:
    """The amount granted, or None: not enough, or the account is stopped."""
    granted = await tx.scalar(
        _OPEN,
        {
            "id": opening.id,
            "account": opening.account,
            "purpose": opening.purpose,
            "want": opening.want_nano,
            "need": opening.need_nano,
            "floor": FLOOR_NANO,
            "shrink": opening.shrink,
            "now": opening.now_ns,
            "deadline": opening.deadline_ns,
            "boot": opening.boot_id,
            "lease": opening.lease_id,
        },
    )
    return None if granted is None else int(granted)


async def get(tx: Tx, id: HoldId) -> Hold | None:
    return await tx.scalar(
        select(Hold).where(Hold.id == id).execution_options(populate_existing=True)
    )


async def extend(tx: Tx, id: HoldId, account: AccountId, more_nano: int) -> bool:
    """Raise a hold; False when the balance does not allow it. The balance must be locked."""
    values = {"id": id, "account": account, "more": more_nano, "floor": FLOOR_NANO}
    return (await tx.scalar(_EXTEND, values)) is not None


async def close(tx: Tx, ids: list[HoldId]) -> None:
    """Release what is open of these holds. Their accounts' balances must be locked."""
    if ids:
        await tx.execute(_CLOSE, {"ids": [str(id) for id in ids]})


async def returned(tx: Tx, ids: list[str], now_ns: int) -> None:
    """No more is admitted against these slices."""
    await tx.execute(
        update(Hold)
        .where(Hold.id.in_([HoldId(i) for i in ids]), Hold.returned_ns.is_(None))
        .values(returned_ns=now_ns)
    )


async def prolong(tx: Tx, boot_id: str, *, before_ns: int, deadline_ns: int) -> None:
    """A boot that lives keeps its slices; written only when the deadline comes near."""
    await tx.execute(
        update(Hold)
        .where(Hold.boot_id == boot_id, Hold.state == "open", Hold.deadline_ns < before_ns)
        .values(deadline_ns=deadline_ns)
    )


_RELEASABLE = text(
    """
    SELECT h.id, h.account_id FROM hold h LEFT JOIN gateway_boot g ON g.boot_id = h.boot_id
    WHERE h.state = 'open' AND h.purpose = 'slice'
      AND (h.returned_ns IS NOT NULL OR h.deadline_ns <= :now OR g.boot_id IS NULL OR g.closed)
      AND NOT EXISTS (SELECT 1 FROM usage_waiting w WHERE w.slice_id = h.id)
    ORDER BY h.id LIMIT :limit
    """
)


async def releasable(tx: Tx, now_ns: int, limit: int) -> list[tuple[HoldId, AccountId]]:
    """Slices that are given back, of a closed boot or past their deadline, all usage settled."""
    rows = await tx.execute(_RELEASABLE, {"now": now_ns, "limit": limit})
    return [(HoldId(row.id), AccountId(row.account_id)) for row in rows]


async def stopped(tx: Tx, account: AccountId) -> bool:
    found = await tx.scalar(
        select(AccountStanding.stopped).where(AccountStanding.account_id == account)
    )
    return bool(found)
