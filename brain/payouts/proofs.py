"""The room's own laws: each payout's row, its bookings, and what the processor said it paid."""

from __future__ import annotations

from collections.abc import Sequence

from brain.billing import Proof, proven
from brain.plumbing import Tx

_PROOFS = (
    (
        "payouts_booked",
        "each payout set its money aside once, and paid it out or gave it back as its state says",
        """
        SELECT count(*), count(*) FILTER (WHERE coalesce(b.asked, 0) <> p.nano
            OR coalesce(b.paid, 0) <> CASE WHEN p.state = 'paid' THEN p.nano ELSE 0 END
            OR coalesce(b.returned, 0) <> CASE WHEN p.state = 'failed' THEN p.nano ELSE 0 END)
        FROM payout p LEFT JOIN (
            SELECT split_part(t.idempotency_key, '/', 2) AS id,
                   sum(e.amount) FILTER (WHERE t.kind = 'payout_asked') AS asked,
                   sum(e.amount) FILTER (WHERE t.kind = 'payout_paid') AS paid,
                   sum(e.amount) FILTER (WHERE t.kind = 'payout_returned') AS returned
            FROM journal_tx t JOIN journal_entry e ON e.tx_id = t.id AND e.amount > 0
            WHERE t.kind IN ('payout_asked', 'payout_paid', 'payout_returned') GROUP BY 1
        ) b ON b.id = p.payout_id
        """,
    ),
    (
        "payouts_transfers",
        "the processor paid what was sent, in its currency, for each payout that is paid",
        """
        SELECT count(*), count(*) FILTER (WHERE p.reference IS NULL
            OR coalesce(p.seen_minor, p.amount_minor) <> p.amount_minor
            OR coalesce(p.seen_currency, p.currency) <> p.currency
            OR EXISTS (SELECT FROM payout o WHERE o.payout_id <> p.payout_id
                       AND o.method = p.method AND o.reference = p.reference))
        FROM payout p WHERE p.state = 'paid'
        """,
    ),
    (
        "payouts_under_way",
        "what is on its way out is the sum of the payouts that are not settled, per provider",
        """
        SELECT count(*), count(*) FILTER (WHERE coalesce(b.posted, 0) <> coalesce(p.nano, 0))
        FROM (SELECT split_part(ledger_account, ':', 1) AS account, posted FROM balance
              WHERE asset = 'USD' AND ledger_account LIKE '%\\:paying') b
        FULL JOIN (SELECT account_id AS account, sum(nano) AS nano FROM payout
                   WHERE state NOT IN ('paid', 'failed') GROUP BY 1) p USING (account)
        """,
    ),
)


class PayoutProofs:
    """Payouts and transfers agree with each other and with the books."""

    name = "payouts"

    async def proofs(self, tx: Tx, now_ns: int) -> Sequence[Proof]:
        return [await proven(tx, name, law, sql) for name, law, sql in _PROOFS]
