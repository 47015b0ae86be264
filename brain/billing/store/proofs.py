"""The books prove themselves: one query a law, counting what was looked at and what is broken."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import text

from brain.billing.core.proof import Proof
from brain.billing.store import seals
from brain.plumbing import Tx
from kernel.ids import AccountId

GRACE_NS = 600_000_000_000  # what is past its deadline is released within minutes


_PROOFS: tuple[tuple[str, str, str], ...] = (
    (
        "transactions",
        "the entries of each transaction sum to zero, per asset",
        """
        SELECT count(*), count(*) FILTER (WHERE total <> 0)
        FROM (SELECT sum(amount) AS total FROM journal_entry GROUP BY tx_id, asset) t
        """,
    ),
    ("journal_chain", seals.CHAIN_LAW, seals.CHAIN),
    ("journal_seals", seals.SEALS_LAW, seals.SEALS),
    (
        "balances",
        "each balance is the sum of its entries",
        """
        SELECT count(*), count(*) FILTER (WHERE coalesce(b.posted, 0) <> coalesce(e.total, 0))
        FROM balance b FULL JOIN (
            SELECT ledger_account, asset, sum(amount) AS total FROM journal_entry GROUP BY 1, 2
        ) e ON e.ledger_account = b.ledger_account AND e.asset = b.asset
        """,
    ),
    (
        "holds",
        "what is held of each account is the sum of its open holds",
        """
        SELECT count(*), count(*) FILTER (WHERE coalesce(b.held, 0) <> coalesce(h.total, 0))
        FROM (SELECT * FROM balance WHERE asset = 'USD') b FULL JOIN (
            SELECT account_id, sum(amount - captured - released) AS total
            FROM hold WHERE state = 'open' GROUP BY 1
        ) h ON h.account_id = b.ledger_account
        """,
    ),
    (
        "admissions",
        "admitted = captured + released + open, and nothing is open past its deadline",
        """
        SELECT count(*), count(*) FILTER (
            WHERE captured < 0 OR released < 0 OR captured + released > amount
               OR (state = 'closed' AND captured + released <> amount)
               OR (state = 'open' AND deadline_ns < CAST(:now AS bigint) - CAST(:grace AS bigint)))
        FROM hold
        """,
    ),
    (
        "waiting",
        "each segment that is not folded waits to be, and no other does",
        """
        SELECT count(*), count(*) FILTER (WHERE s.key IS NULL OR w.key IS NULL)
        FROM (SELECT day, key FROM usage_segment WHERE NOT folded) s
        FULL JOIN usage_waiting w ON w.day = s.day AND w.key = s.key
        """,
    ),
    (
        "storage",
        "what each stretch of a volume was charged is what was posted for it",
        """
        SELECT count(*), count(*) FILTER (WHERE b.charge_nano <> -coalesce(e.amount, 0))
        FROM storage_bill b
        LEFT JOIN journal_tx t ON t.idempotency_key = 'storage/' || b.volume_id || '/' || b.from_ns
        LEFT JOIN journal_entry e
          ON e.tx_id = t.id AND e.ledger_account = b.payer AND e.asset = 'USD'
        """,
    ),
)

_LEASE_PROOFS: tuple[tuple[str, str, str], ...] = (
    (
        "usage",
        "the folded usage of each lease is what its windows shared out, and what was posted",
        """
        SELECT count(*), count(*) FILTER (
            WHERE coalesce(s.ticks, 0) + coalesce(d.ticks, 0) <> coalesce(w.ticks, 0)
               OR coalesce(w.posted, 0) <> -coalesce(e.amount, 0)
               OR coalesce(w.busy, 0) + l.late_ns <> l.busy_ready_ns + l.busy_drain_ns)
        FROM meter_lease l
        LEFT JOIN (SELECT lease_id, sum(settled_ticks) AS ticks FROM usage_segment GROUP BY 1) s
          ON s.lease_id = l.lease_id
        LEFT JOIN usage_dropped d ON d.lease_id = l.lease_id  -- days that are kept no longer
        LEFT JOIN (SELECT lease_id, sum(shared_ticks) AS ticks, sum(posted_ns) AS posted,
                          sum(busy_ns) AS busy FROM meter_window GROUP BY 1) w
          ON w.lease_id = l.lease_id
        LEFT JOIN (SELECT e.ledger_account, sum(e.amount) AS amount
                   FROM journal_entry e JOIN journal_tx t ON t.id = e.tx_id
                   WHERE e.asset = 'GPUNS' AND t.kind IN ('pool_window', 'dedicated_window')
                     AND e.ledger_account LIKE 'lease%\\:busy' GROUP BY 1) e
          ON e.ledger_account = l.lease_id || '\\:busy'
        WHERE l.mode <> 'pod'  -- busy without requests: the next proof closes over it
          AND (CAST(:account AS text) IS NULL OR :account IN (l.payer, l.provider))
        """,
    ),
    (
        "gpu_time",
        "each closed lease's buckets sum to GPUs x time, and its busy time is all attributed",
        """
        SELECT count(*), count(*) FILTER (
            WHERE -coalesce(b.capacity, 0) <> l.gpus * (l.closed_ns - l.opened_ns)::numeric
               OR coalesce(b.buckets, 0) + l.busy_ready_ns + l.busy_drain_ns
                  <> l.gpus * (l.closed_ns - l.opened_ns)::numeric
               OR coalesce(b.busy, 0) <> 0 OR coalesce(b.rounding, 0) <> l.rounding_ns)
        FROM meter_lease l LEFT JOIN (
            SELECT split_part(ledger_account, ':', 1) AS lease_id,
                   sum(posted) FILTER (WHERE ledger_account LIKE '%\\:capacity') AS capacity,
                   sum(posted) FILTER (WHERE ledger_account LIKE '%\\:busy') AS busy,
                   sum(posted) FILTER (WHERE ledger_account LIKE '%\\:rounding') AS rounding,
                   sum(posted) FILTER (WHERE split_part(ledger_account, ':', 2) IN
                       ('provision', 'load', 'idle', 'drain', 'lost')) AS buckets
            FROM balance WHERE asset = 'GPUNS' AND ledger_account LIKE 'lease%' GROUP BY 1
        ) b ON b.lease_id = l.lease_id
        WHERE l.finished AND (CAST(:account AS text) IS NULL OR :account IN (l.payer, l.provider))
        """,
    ),
    (
        "lease_bills",
        "what each lease was billed is the sum of its bills, which leave no time out",
        """
        SELECT count(*), count(*) FILTER (
            WHERE coalesce(b.charge, 0) <> l.billed_nano OR coalesce(b.earned, 0) <> l.earned_nano
               OR coalesce(b.span, 0) <> coalesce(
                      l.billed_ns - coalesce(l.loading_ns, l.ready_ns), 0))
        FROM meter_lease l LEFT JOIN (
            SELECT lease_id, sum(charge_nano) AS charge, sum(earned_nano) AS earned,
                   sum(until_ns - from_ns) AS span FROM lease_bill GROUP BY 1
        ) b ON b.lease_id = l.lease_id
        WHERE (CAST(:account AS text) IS NULL OR :account IN (l.payer, l.provider))
        """,
    ),
)


async def prove(tx: Tx, now_ns: int) -> list[Proof]:
    """Every proof over all the books."""
    values = {"now": now_ns, "grace": GRACE_NS}
    return [*await _run(tx, _PROOFS, values), *await of_leases(tx, None)]


async def of_leases(tx: Tx, account: AccountId | None) -> list[Proof]:
    """The proofs of leases that this account pays for or earns by; of all leases with None."""
    return await _run(tx, _LEASE_PROOFS, {"account": account})


async def _run(
    tx: Tx, proofs: tuple[tuple[str, str, str], ...], values: Mapping[str, object]
) -> list[Proof]:
    found = []
    for name, law, sql in proofs:
        used = {key: value for key, value in values.items() if f":{key}" in sql}
        found.append(await proven(tx, name, law, sql, **used))
    return found


async def proven(tx: Tx, name: str, law: str, sql: str, **values: object) -> Proof:
    """A proof by one query that answers (how many were looked at, how many are broken)."""
    count, broken = (await tx.execute(text(sql), values)).one()
    return Proof(name, law, int(count), int(broken))
