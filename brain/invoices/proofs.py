"""The room's own laws: numbers without gaps, lines that sum, use that stands on one invoice."""

from __future__ import annotations

from collections.abc import Sequence

from brain.billing import Proof, proven
from brain.plumbing import Tx

_PROOFS = (
    (
        "invoices_numbers",
        "the documents of each series and year are numbered 1, 2, 3 … to the last number given",
        """
        SELECT count(*), count(*) FILTER (WHERE coalesce(i.count, 0) <> s.last
            OR coalesce(i.most, 0) <> s.last OR coalesce(i.least, 1) <> 1)
        FROM invoice_series s LEFT JOIN (
            SELECT series, year, count(*) AS count, max(place) AS most, min(place) AS least
            FROM invoice GROUP BY 1, 2
        ) i ON i.series = s.series AND i.year = s.year
        """,
    ),
    (
        "invoices_lines",
        "the lines of each document sum to its net amount, in cents and to the nano-dollar",
        """
        SELECT count(*), count(*) FILTER (WHERE coalesce(l.cents, 0) <> i.net_cents
            OR coalesce(l.nano, 0) <> i.net_nano)
        FROM invoice i LEFT JOIN (
            SELECT invoice_id, sum(cents) AS cents, sum(nano) AS nano FROM invoice_line GROUP BY 1
        ) l ON l.invoice_id = i.id
        """,
    ),
    (
        "invoices_use",
        "each invoice and receipt says what its bookings in the ledger say, and has some",
        """
        SELECT count(*), count(*) FILTER (WHERE b.nano IS DISTINCT FROM
            CASE WHEN i.paper = 'invoice' THEN -i.net_nano ELSE i.net_nano END)
        FROM invoice i LEFT JOIN (
            SELECT d.document_id, sum(e.amount) AS nano FROM journal_document d
            JOIN journal_entry e ON e.tx_id = d.tx_id AND e.ledger_account = d.account_id
                                AND e.asset = 'USD' GROUP BY 1
        ) b ON b.document_id = i.id WHERE i.paper <> 'credit_note'
        """,
    ),
)


class InvoiceProofs:
    """Documents agree with themselves and with the books."""

    name = "invoices"

    async def proofs(self, tx: Tx, now_ns: int) -> Sequence[Proof]:
        return [await proven(tx, name, law, sql) for name, law, sql in _PROOFS]
