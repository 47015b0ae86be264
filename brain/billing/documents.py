"""Which journal transactions stand on which document (invoice, receipt): each on one at most.

A mark a transaction, never a cursor: what commits late, with an older time or id, has no mark and
comes onto the next document. The primary key refuses a second document.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from sqlalchemy import ARRAY, Text, bindparam, text
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, IdColumn, Tx
from kernel.ids import AccountId, DeploymentId, TxId, VolumeId


class JournalDocument(Base):
    """The document on which this transaction's entry of the account stands."""

    __tablename__ = "journal_document"

    tx_id: Mapped[TxId] = mapped_column(IdColumn(TxId), primary_key=True)
    account_id: Mapped[AccountId] = mapped_column(IdColumn(AccountId), primary_key=True)
    document_id: Mapped[str] = mapped_column(Text, index=True)


class UseKind(StrEnum):
    """Kinds of journal transactions that are use, and so stand on invoices."""

    LEASE_TIME = "lease_time"
    LEASE_CREDIT = "lease_credit"
    POOL_WINDOW = "pool_window"
    WAIVER = "waiver"
    STORAGE_TIME = "storage_time"


@dataclass(frozen=True)
class Charged:
    """Use of one kind and one subject on a document. ``nano`` below 0 went back to the account."""

    kind: UseKind
    mode: str | None
    deployment_id: DeploymentId | None
    volume_id: VolumeId | None
    nano: int
    gpu_ns: int
    gib_ns: int
    from_ns: int | None
    until_ns: int | None


_MARK = text(
    """
    INSERT INTO journal_document (tx_id, account_id, document_id)
    SELECT DISTINCT e.tx_id, CAST(:account AS text), CAST(:document AS text)
    FROM journal_entry e JOIN journal_tx t ON t.id = e.tx_id
    WHERE e.ledger_account = :account AND e.asset = 'USD' AND e.tx_id >= :since
      AND t.at < :until AND t.kind = ANY(:kinds)
      AND NOT EXISTS (SELECT 1 FROM journal_document d
                      WHERE d.tx_id = e.tx_id AND d.account_id = :account)
    """
).bindparams(bindparam("kinds", type_=ARRAY(Text)))

_CHARGED = text(
    """
    WITH mine AS (
        SELECT t.id, t.kind, e.amount, split_part(t.idempotency_key, '/', 2) AS subject,
               CASE WHEN t.kind IN ('lease_time', 'pool_window', 'storage_time')
                    THEN split_part(t.idempotency_key, '/', 3)::bigint END AS from_ns
        FROM journal_document d
        JOIN journal_entry e ON e.tx_id = d.tx_id AND e.ledger_account = d.account_id
                            AND e.asset = 'USD'
        JOIN journal_tx t ON t.id = d.tx_id
        WHERE d.document_id = :document
    )
    SELECT m.kind, l.mode, l.deployment_id, s.volume_id, sum(-m.amount)::bigint AS nano,
           sum(coalesce((b.until_ns - b.from_ns)::numeric * l.gpus, g.amount, 0)) AS gpu_ns,
           sum(coalesce(s.seen_ns::numeric * s.gib, 0)) AS gib_ns,
           min(m.from_ns) AS from_ns, max(coalesce(b.until_ns, s.until_ns, w.end_ns)) AS until_ns
    FROM mine m
    LEFT JOIN meter_lease l ON l.lease_id = m.subject
    LEFT JOIN lease_bill b
        ON m.kind = 'lease_time' AND b.lease_id = m.subject AND b.from_ns = m.from_ns
    LEFT JOIN meter_window w
        ON m.kind = 'pool_window' AND w.lease_id = m.subject AND w.start_ns = m.from_ns
    LEFT JOIN storage_bill s
        ON m.kind = 'storage_time' AND s.volume_id = m.subject AND s.from_ns = m.from_ns
    LEFT JOIN LATERAL (
        SELECT sum(x.amount) AS amount FROM journal_entry x
        WHERE x.tx_id = m.id AND x.ledger_account = :account AND x.asset = 'GPUNS'
    ) g ON m.kind = 'pool_window'
    GROUP BY m.kind, l.mode, l.deployment_id, s.volume_id
    ORDER BY m.kind, l.mode, l.deployment_id, s.volume_id
    """
)

_UNMARKED = text(
    """
    SELECT t.id, t.memo, t.at, e.amount FROM journal_entry e JOIN journal_tx t ON t.id = e.tx_id
    WHERE e.ledger_account = :account AND e.asset = 'USD' AND t.kind = ANY(:kinds)
      AND NOT EXISTS (SELECT 1 FROM journal_document d
                      WHERE d.tx_id = t.id AND d.account_id = :account)
    ORDER BY t.id LIMIT :limit
    """
).bindparams(bindparam("kinds", type_=ARRAY(Text)))


async def mark_use(
    tx: Tx, account: AccountId, document_id: str, *, until: datetime, since: TxId | None = None
) -> list[Charged]:
    """Put all use of the account that was posted before ``until``, and stands on no document yet,
    onto this one, and sum it up. ``since``: a transaction so old that all before it are marked.
    Two at once: the second waits, then fails on the marks of the first; take a lock before."""
    await tx.execute(
        _MARK,
        {
            "account": account,
            "document": document_id,
            "until": until,
            "since": since or "",
            "kinds": [kind.value for kind in UseKind],
        },
    )
    rows = await tx.execute(_CHARGED, {"account": account, "document": document_id})
    return [
        Charged(
            kind=UseKind(row.kind),
            mode=row.mode,
            deployment_id=None if row.deployment_id is None else DeploymentId(row.deployment_id),
            volume_id=None if row.volume_id is None else VolumeId(row.volume_id),
            nano=int(row.nano),
            gpu_ns=int(row.gpu_ns),
            gib_ns=int(row.gib_ns),
            from_ns=row.from_ns,
            until_ns=row.until_ns,
        )
        for row in rows
    ]


@dataclass(frozen=True)
class Unmarked:
    """A transaction of the account that stands on no document."""

    tx_id: TxId
    memo: str
    at: datetime
    nano: int


async def unmarked(
    tx: Tx, account: AccountId, kinds: Collection[str], *, limit: int
) -> list[Unmarked]:
    """The oldest transactions of these kinds without a document."""
    values = {"account": account, "kinds": list(kinds), "limit": limit}
    rows = await tx.execute(_UNMARKED, values)
    return [Unmarked(TxId(row.id), row.memo, row.at, int(row.amount)) for row in rows]


async def mark(tx: Tx, account: AccountId, tx_id: TxId, document_id: str) -> None:
    """This transaction stands on this document."""
    tx.add(JournalDocument(tx_id=tx_id, account_id=account, document_id=document_id))
    await tx.flush()
