"""The room's own laws: use is charged, costs are what the books and the fleet say, clouds' bills
agree with them."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from brain.billing import Proof, proven
from brain.costs import bills
from brain.plumbing import Tx
from kernel.money import CARRY_DIVISOR

# As much as rounding and an account's carry may leave out of one bill.
_LEAST = 2 * CARRY_DIVISOR  # two nano-dollars

_PROOFS = (
    (
        "priced_use",
        "use that has a price is charged: in the pool, by the lease, for volumes",
        """
        WITH pool AS (
            SELECT sum(s.settled_ticks * l.pool_rate_nano) - sum(s.waived_units) AS units,
                   (SELECT count(*) FROM journal_entry e JOIN journal_tx t ON t.id = e.tx_id
                    WHERE e.ledger_account = s.account_id AND e.asset = 'USD' AND e.amount <> 0
                      AND t.kind = 'pool_window'
                      AND split_part(t.idempotency_key, '/', 2) = s.lease_id) AS charges
            FROM usage_segment s JOIN meter_lease l ON l.lease_id = s.lease_id
            WHERE l.mode = 'pool' AND l.pool_rate_nano > 0 AND s.account_id <> l.payer
              AND s.settled_ticks > 0
            GROUP BY s.lease_id, s.account_id
        ), priced AS (
            SELECT units >= CAST(:least AS numeric) AND charges = 0 AS free FROM pool
            UNION ALL
            SELECT b.charge_nano = 0 AND (b.until_ns - b.from_ns)::numeric * l.gpus
                   * l.renter_rate_nano * 1048576 >= CAST(:least AS numeric)
            FROM lease_bill b JOIN meter_lease l ON l.lease_id = b.lease_id
            UNION ALL
            SELECT b.charge_nano = 0 AND b.seen_ns::numeric * b.gib * b.price_nano * 1048576
                   >= CAST(:least AS numeric)
            FROM storage_bill b WHERE b.payer IS NOT NULL
        )
        SELECT count(*), count(*) FILTER (WHERE free) FROM priced
        """,
    ),
    (
        "costs_rows",
        "the cost rows of each lease and machine sum to what is recorded of it",
        """
        SELECT count(*), count(*) FILTER (
            WHERE k.recorded_nano - k.skipped_nano <> coalesce(r.nano, 0))
        FROM cost_cursor k LEFT JOIN (
            SELECT source, sum(cost_nano) AS nano FROM cost_record WHERE source <> '' GROUP BY 1
        ) r ON r.source = k.source WHERE k.source <> ''
        """,
    ),
    (
        "costs_leases",
        "what each ended lease on a provider's node cost us is what its provider earned",
        """
        SELECT count(*), count(*) FILTER (
            WHERE k.recorded_nano <> l.earned_nano - coalesce(c.taken_back_nano, 0))
        FROM cost_cursor k JOIN meter_lease l ON l.lease_id = k.source
        LEFT JOIN lease_credit c ON c.lease_id = l.lease_id
        WHERE k.done AND l.provider IS NOT NULL AND l.provider <> :platform
        """,
    ),
)


class CostProofs:
    """Costs agree with the ledger, with the fleet, and with what clouds billed."""

    name = "costs"

    def __init__(self, platform: str) -> None:
        self._platform = platform

    async def proofs(self, tx: Tx, now_ns: int) -> Sequence[Proof]:
        found = []
        for name, law, sql in _PROOFS:
            values = {"platform": self._platform, "least": Decimal(_LEAST)}
            used = {key: value for key, value in values.items() if f":{key}" in sql}
            found.append(await proven(tx, name, law, sql, **used))
        told = await bills.statements(tx, now_ns)
        broken = sum(1 for one in told if not one.agrees)
        law = "what clouds billed is what we recorded of their machines, within half a percent"
        return [*found, Proof("cloud_bills", law, len(told), broken)]
