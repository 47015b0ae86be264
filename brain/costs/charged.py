"""What accounts were charged, summed by day and by what they used: the other side of our costs.

From the ledger alone; an account's own, or everybody's for administrators.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import ARRAY, Text, bindparam, text

from brain.billing import UseKind
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Tx
from kernel.ids import AccountId, TxId, uuid7
from kernel.money import CARRY_DIVISOR

LATE = timedelta(days=1)  # no posting is so much younger than its id

_CHARGED = text(
    """
    SELECT t.kind, (t.at AT TIME ZONE 'UTC')::date AS day,
           CASE WHEN t.kind = 'storage_time' THEN split_part(t.idempotency_key, '/', 2)
                ELSE coalesce(d.own_launch->>'pod_id', l.deployment_id, '') END AS subject,
           CASE WHEN d.own_launch IS NULL THEN coalesce(d.model, '') ELSE '' END AS model,
           sum(-e.amount)::bigint AS nano
    FROM journal_tx t JOIN journal_entry e ON e.tx_id = t.id AND e.asset = 'USD'
    LEFT JOIN meter_lease l ON l.lease_id = split_part(t.idempotency_key, '/', 2)
    LEFT JOIN deployment d ON d.deployment_id = l.deployment_id
    WHERE t.id >= :first AND t.at >= :since AND t.at < :until AND t.kind = ANY(:kinds)
      AND CASE WHEN CAST(:account AS text) IS NULL
               THEN e.ledger_account LIKE 'acct\\_%' AND e.ledger_account NOT LIKE '%:%'
                    AND e.ledger_account <> :platform
               ELSE e.ledger_account = :account END
    GROUP BY 1, 2, 3, 4
    """
).bindparams(bindparam("kinds", type_=ARRAY(Text)))

# As an API key's limit counts it, of the days whose usage is kept.
_BY_KEY = text(
    """
    SELECT s.key_id, count(DISTINCT s.request_id) AS requests, sum(s.settled_ticks) AS ticks,
           sum(CASE WHEN l.mode = 'pool' AND s.account_id <> l.payer
                    THEN s.settled_ticks * l.pool_rate_nano ELSE 0 END)
           - sum(s.waived_units) AS units
    FROM usage_segment s JOIN meter_lease l ON l.lease_id = s.lease_id
    WHERE s.account_id = :account AND s.day >= :first AND s.day <= :last
    GROUP BY s.key_id
    """
)


@dataclass(frozen=True)
class Charged:
    """``subject``: a deployment, pod or volume; "" where a late end came off a bill."""

    kind: UseKind
    day: date
    subject: str
    model: str
    nano: int


async def charged(
    tx: Tx, since: datetime, until: datetime, account: AccountId | None = None
) -> list[Charged]:
    """Charges that were posted in [since, until), of this account or of all but the platform."""
    born = int((since - LATE).timestamp() * 1000)
    values = {
        "first": TxId.of(uuid7(max(born, 0), 0)),
        "since": since,
        "until": until,
        "kinds": [kind.value for kind in UseKind],
        "account": account,
        "platform": PLATFORM_ACCOUNT,
    }
    rows = await tx.execute(_CHARGED, values)
    return [
        Charged(UseKind(r.kind), r.day, r.subject, r.model, int(r.nano)) for r in rows if r.nano
    ]


@dataclass(frozen=True)
class KeyUse:
    key_id: str
    requests: int
    ticks: int
    nano: int


async def by_key(tx: Tx, account: AccountId, first: date, last: date) -> Sequence[KeyUse]:
    """What each API key used from the first day to the last, as far as it is settled. Time on own
    deployments is paid by the lease: it has GPU time and no charge here."""
    values = {"account": account, "first": first, "last": last}
    rows = await tx.execute(_BY_KEY, values)
    return [
        KeyUse(r.key_id, int(r.requests), int(r.ticks), -(-int(r.units) // CARRY_DIVISOR))
        for r in rows
    ]
