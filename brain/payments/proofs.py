"""The room's laws: top-ups and what went back agree with the books, and with processors' lines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from brain import billing
from brain.billing import Proof
from brain.plumbing import Tx
from kernel.clock import at_ns

LATE = timedelta(hours=2)  # a processor's line may take so long to appear

_CREDITED = """
SELECT count(*), count(*) FILTER (
    WHERE (t.state = 'paid') <> (e.amount IS NOT NULL)
       OR (t.state = 'paid' AND e.amount <> t.credit_nano))
FROM topup t
LEFT JOIN journal_tx j ON j.idempotency_key = 'topup/' || t.topup_id
LEFT JOIN journal_entry e
  ON e.tx_id = j.id AND e.ledger_account = t.account_id AND e.asset = 'USD'
"""
_REVERSED = """
SELECT count(*), count(*) FILTER (
    WHERE coalesce(b.booked, 0) <> CASE WHEN r.state = 'returned' THEN 0
                                        ELSE -r.amount_minor * t.rate_nano END)
FROM topup_reversal r JOIN topup t ON t.topup_id = r.topup_id
LEFT JOIN (SELECT split_part(j.idempotency_key, '/', 3) AS refund_id, sum(e.amount) AS booked
           FROM journal_tx j JOIN journal_entry e ON e.tx_id = j.id
           WHERE j.kind IN ('refund', 'dispute', 'refund_returned', 'dispute_returned')
             AND j.idempotency_key LIKE 'topup/%'
             AND e.asset = 'USD' AND e.ledger_account <> 'platform:purchases'
           GROUP BY 1) b ON b.refund_id = r.refund_id
"""
# What a processor's books hold of a payment is what ours do: paid, less what went back; the fees.
# Judged is what both sides had their time for: its lines were read until well after the newest
# change of ours, and no top-up waits for its turn, as all do after the brain was away.
_PROCESSOR = """
SELECT count(*), count(*) FILTER (WHERE
       (l.amount IS NULL AND t.state = 'paid'
        AND t.paid_at < t.read_until - CAST(:late AS interval))
    OR (t.topup_id IS NULL AND l.newest < CAST(:now AS timestamptz) - CAST(:late AS interval)
        AND NOT EXISTS (SELECT FROM topup w WHERE w.processor = l.processor
                        AND w.payment IS NULL AND w.created_at <= l.newest + interval '10 s'
                        AND (w.work_until IS NOT NULL OR w.due_at <= CAST(:now AS timestamptz)
                             OR (w.due_at IS NOT NULL AND w.failures > 0))))
    OR (l.amount IS NOT NULL AND t.topup_id IS NOT NULL
        AND l.newest < CAST(:now AS timestamptz) - CAST(:late AS interval)
        AND coalesce(greatest(t.paid_at, r.changed), '-infinity')
            < t.read_until - CAST(:late AS interval)
        AND t.work_until IS NULL AND (t.due_at IS NULL OR (
            t.due_at > CAST(:now AS timestamptz) AND t.failures = 0))
        AND (l.amount <> CASE WHEN t.state = 'paid' THEN t.amount_minor ELSE 0 END
                         - coalesce(r.amount, 0)
             OR l.fee <> coalesce(t.fee_minor, 0) + coalesce(r.fee, 0))))
FROM (SELECT processor, payment, sum(amount_minor) AS amount, sum(fee_minor) AS fee,
             max(at) AS newest
      FROM payment_line WHERE payment IS NOT NULL GROUP BY 1, 2) l
FULL JOIN (SELECT t.*, c.read_until FROM topup t JOIN payment_cursor c
             ON c.processor = t.processor AND c.read_until >= t.created_at
           WHERE t.payment IS NOT NULL) t
  ON t.processor = l.processor AND t.payment = l.payment
LEFT JOIN (SELECT topup_id, sum(amount_minor) FILTER (WHERE state = 'stands') AS amount,
                  sum(fee_minor) AS fee, max(state_at) AS changed
           FROM topup_reversal GROUP BY 1) r
  ON r.topup_id = t.topup_id
"""
_BOOKS = """
SELECT count(*), count(*) FILTER (WHERE held <> paid)
FROM (
    SELECT coalesce(-(SELECT sum(e.amount) FROM journal_tx j JOIN journal_entry e ON e.tx_id = j.id
              WHERE j.idempotency_key LIKE 'topup/%' AND e.ledger_account = 'platform:purchases'
                AND e.asset = 'USD'), 0) AS held,
           coalesce((SELECT sum(t.credit_nano - coalesce(t.fee_minor, 0) * t.rate_nano)
              FROM topup t WHERE t.state = 'paid'), 0)
           - coalesce((SELECT sum((CASE WHEN r.state = 'returned' THEN 0 ELSE r.amount_minor END
                                   + r.fee_minor) * t.rate_nano)
              FROM topup_reversal r JOIN topup t ON t.topup_id = r.topup_id), 0) AS paid
) b
"""
_PARKED = """
SELECT count(*), count(*) FILTER (WHERE state = 'parked') FROM topup
"""


class PaymentProofs:
    """A ``ProofSource`` of billing."""

    name = "payments"

    async def proofs(self, tx: Tx, now_ns: int) -> Sequence[Proof]:
        told: tuple[tuple[str, str, str, dict[str, object]], ...] = (
            (
                "payments_topups",
                "each paid top-up was credited once, with its amount, and no other was",
                _CREDITED,
                {},
            ),
            (
                "payments_reversals",
                "what went back of top-ups left their accounts once, and what returned is there",
                _REVERSED,
                {},
            ),
            (
                "payments_processors",
                "what processors' books hold of each payment, and their fees, is what ours do",
                _PROCESSOR,
                {"now": at_ns(now_ns), "late": LATE},
            ),
            (
                "payments_books",
                "purchases less reversals and fees are what the ledger holds at processors",
                _BOOKS,
                {},
            ),
            ("payments_known", "of no top-up it is unknown what became of it", _PARKED, {}),
        )
        return [
            await billing.proven(tx, name, law, sql, **values) for name, law, sql, values in told
        ]
