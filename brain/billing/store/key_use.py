"""What an API key used in the shared pool, by day, as far as it is settled."""

from __future__ import annotations

from datetime import date

from sqlalchemy import text

from brain.plumbing import Tx
from kernel.ids import AccountId, KeyId
from kernel.money import CARRY_DIVISOR

_USED = text(
    """
    SELECT s.day,
           sum(CASE WHEN l.mode = 'pool' AND s.account_id <> l.payer
                    THEN s.settled_ticks * l.pool_rate_nano ELSE 0 END)
           - sum(s.waived_units) AS units
    FROM usage_segment s JOIN meter_lease l ON l.lease_id = s.lease_id
    WHERE s.account_id = :account AND s.key_id = :key AND s.day >= :first
    GROUP BY s.day
    """
)


async def key_use(tx: Tx, account: AccountId, key: KeyId, first: date) -> dict[date, int]:
    """Nano-dollars of each day from ``first`` on, rounded up."""
    rows = await tx.execute(_USED, {"account": account, "key": key, "first": first})
    return {row.day: -(-int(row.units) // CARRY_DIVISOR) for row in rows}
