"""SQL of costs: what runs and costs by the hour, who used it, and the rows that say so."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.dialects.postgresql import insert

from brain.costs.core import Known, Who
from brain.costs.models import CostCursor, CostRow
from brain.plumbing import Tx

LAST_PASS = ""  # the cursor of whole passes

# Leases on machines that are not rented: those that live, those that are not recorded to the end,
# and those born since a whole pass, which may be over already.
_LEASES = text(
    """
    WITH due AS (
        SELECT lease_id FROM meter_lease WHERE NOT finished AND lease_id > :after
        UNION SELECT source FROM cost_cursor
              WHERE NOT done AND source > :after AND source LIKE 'lease\\_%'
        UNION SELECT lease_id FROM meter_lease
              WHERE lease_id > greatest(CAST(:after AS text), CAST(:born AS text))
              AND NOT EXISTS (SELECT 1 FROM cost_cursor k WHERE k.source = lease_id AND k.done)
    )
    SELECT l.lease_id AS source, l.lease_id, l.payer, l.provider, l.gpus, l.mode,
           l.renter_rate_nano, l.fee_basis_points, coalesce(l.loading_ns, l.ready_ns) AS begun_ns,
           l.ready_ns, l.evidence_ns, l.settled_ns, l.finished, l.billed_ns, l.earned_nano,
           l.witnessed_ns, coalesce(c.taken_back_nano, 0) AS taken_back_nano,
           coalesce(d.own_launch->>'pod_id', l.deployment_id) AS subject,
           CASE WHEN d.own_launch IS NULL THEN coalesce(d.model, '') ELSE '' END AS model
    FROM due JOIN meter_lease l ON l.lease_id = due.lease_id
    LEFT JOIN lease_credit c ON c.lease_id = l.lease_id
    LEFT JOIN deployment d ON d.deployment_id = l.deployment_id
    WHERE NOT EXISTS (SELECT 1 FROM provision_intent i WHERE i.lease_id = l.lease_id)
    ORDER BY l.lease_id LIMIT :limit
    """
)

_MACHINES = text(
    """
    WITH due AS (
        SELECT intent_id FROM provision_intent WHERE ended_ns IS NULL AND intent_id > :after
        UNION SELECT source FROM cost_cursor
              WHERE NOT done AND source > :after AND source LIKE 'intent\\_%'
        UNION SELECT intent_id FROM provision_intent
              WHERE intent_id > greatest(CAST(:after AS text), CAST(:born AS text))
              AND NOT EXISTS (SELECT 1 FROM cost_cursor k WHERE k.source = intent_id AND k.done)
    )
    SELECT i.intent_id AS source, i.lease_id, i.cloud, i.machine_id, i.cost_nano_hour,
           i.ordered_ns AS begun_ns, i.ended_ns, i.offer, l.payer, l.gpus, l.mode, l.ready_ns,
           l.settled_ns, coalesce(l.finished, true) AS finished,
           coalesce(d.own_launch->>'pod_id', i.deployment_id) AS subject,
           CASE WHEN d.own_launch IS NULL THEN coalesce(d.model, '') ELSE '' END AS model
    FROM due JOIN provision_intent i ON i.intent_id = due.intent_id
    LEFT JOIN meter_lease l ON l.lease_id = i.lease_id
    LEFT JOIN deployment d ON d.deployment_id = i.deployment_id
    ORDER BY i.intent_id LIMIT :limit
    """
)

_STRAYS = text(
    """
    SELECT u.unknown_id AS source, u.cloud, u.machine_id, u.cost_nano_hour,
           u.first_ns AS begun_ns, u.ended_ns
    FROM unknown_machine u LEFT JOIN cost_cursor k ON k.source = 'stray/' || u.unknown_id
    WHERE u.unknown_id > :after AND NOT coalesce(k.done, false)
    ORDER BY u.unknown_id LIMIT :limit
    """
)

# What was booked for volumes and to payment processors since a whole pass: a row each, once.
_STORED = text(
    """
    SELECT t.id, b.volume_id, b.payer, b.provider, b.gib, b.seen_ns, b.earned_nano, b.from_ns
    FROM journal_tx t JOIN storage_bill b
      ON b.volume_id = split_part(t.idempotency_key, '/', 2)
     AND b.from_ns = split_part(t.idempotency_key, '/', 3)::bigint
    WHERE t.kind = 'storage_time' AND t.id > :after AND b.earned_nano > 0
    ORDER BY t.id LIMIT :limit
    """
)
_FEES = text(
    """
    SELECT t.id, t.memo, t.at, -e.amount AS nano FROM journal_tx t
    JOIN journal_entry e ON e.tx_id = t.id AND e.ledger_account = 'platform:processor-fees'
    WHERE t.kind = 'processor_fee' AND t.id > :after
    ORDER BY t.id LIMIT :limit
    """
)

_USED = text(
    """
    SELECT key_id, account_id, sum(settled_ticks) AS ticks FROM usage_segment
    WHERE lease_id = :lease AND end_ns > :from_ns AND end_ns <= :until_ns AND settled_ticks > 0
    GROUP BY key_id, account_id
    """
)


async def leases(tx: Tx, *, after: str, born: str, limit: int) -> Sequence[Any]:
    return (await tx.execute(_LEASES, {"after": after, "born": born, "limit": limit})).all()


async def machines(tx: Tx, *, after: str, born: str, limit: int) -> Sequence[Any]:
    return (await tx.execute(_MACHINES, {"after": after, "born": born, "limit": limit})).all()


async def strays(tx: Tx, *, after: str, limit: int) -> Sequence[Any]:
    return (await tx.execute(_STRAYS, {"after": after, "limit": limit})).all()


async def stored(tx: Tx, *, after: str, limit: int) -> Sequence[Any]:
    return (await tx.execute(_STORED, {"after": after, "limit": limit})).all()


async def fees(tx: Tx, *, after: str, limit: int) -> Sequence[Any]:
    return (await tx.execute(_FEES, {"after": after, "limit": limit})).all()


async def used(tx: Tx, lease: str, from_ns: int, until_ns: int) -> Mapping[Who, int]:
    """GPU time in ticks of the requests that ended in (from, until], by key and account."""
    values = {"lease": lease, "from_ns": from_ns, "until_ns": until_ns}
    rows = await tx.execute(_USED, values)
    return {(row.key_id, row.account_id): int(row.ticks) for row in rows}


async def cursor(tx: Tx, source: str) -> CostCursor:
    """The source's row, locked: no other process records it until the transaction ends."""
    row = insert(CostCursor).values(
        source=source, until_ns=0, recorded_nano=0, skipped_nano=0, done=False
    )
    await tx.execute(row.on_conflict_do_nothing())
    query = select(CostCursor).where(CostCursor.source == source).with_for_update()
    return (await tx.scalars(query.execution_options(populate_existing=True))).one()


def known(row: CostCursor) -> Known | None:
    return Known(row.until_ns, row.recorded_nano) if row.until_ns else None


async def last_pass_ns(tx: Tx) -> int:
    """When the last whole pass began; 0: there was none."""
    row = await tx.get(CostCursor, LAST_PASS)
    return 0 if row is None else row.until_ns


async def grow(tx: Tx, rows: Sequence[Mapping[str, object]]) -> None:
    """Add to the rows of these sources, hours, keys and accounts."""
    for row in rows:
        made = insert(CostRow).values(**row)
        await tx.execute(
            made.on_conflict_do_update(
                index_elements=["source", "created_at", "key_id", "who"],
                index_where=text("source <> ''"),
                set_={
                    "units": CostRow.units + made.excluded.units,
                    "cost_nano": CostRow.cost_nano + made.excluded.cost_nano,
                },
            )
        )


async def once(tx: Tx, rows: Sequence[Mapping[str, object]]) -> None:
    """Write rows that are there already, or not."""
    if rows:
        await tx.execute(insert(CostRow).on_conflict_do_nothing(), [dict(row) for row in rows])
