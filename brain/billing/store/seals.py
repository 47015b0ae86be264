"""Seals over the journal's batches, and the proof that nothing under them was changed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import text

from brain.plumbing import Tx

LOCK: Final = 0x7365_616C  # one process at a time seals

_SEAL = text(
    """
    WITH last AS (
        SELECT number, hash FROM journal_seal ORDER BY number DESC LIMIT 1
    ), next AS (
        SELECT coalesce((SELECT number FROM last), 0) + 1 AS number,
               coalesce((SELECT hash FROM last), '') AS previous
    ), sealed AS (
        UPDATE journal_batch b SET seal = next.number FROM next
        WHERE b.seal IS NULL RETURNING b.id, b.hash
    )
    INSERT INTO journal_seal (number, previous, hash, batches, at)
    SELECT next.number, next.previous,
           journal_digest(next.previous, string_agg(s.hash, E'\\x1e' ORDER BY s.id), ''),
           count(*), :at
    FROM next, sealed s GROUP BY next.number, next.previous
    RETURNING number, hash, batches
    """
)

CHAIN_LAW = "each batch of the journal is what was posted, and follows the one before it"
CHAIN = """
    WITH txs AS (
        SELECT batch, count(*) AS n,
               string_agg(concat_ws(E'\\x1f', id, idempotency_key, input_hash, kind, memo),
                          E'\\x1e' ORDER BY id COLLATE "C") AS said
        FROM journal_tx WHERE batch IS NOT NULL GROUP BY batch
    ), entries AS (
        SELECT t.batch, string_agg(
                   concat_ws(E'\\x1f', tx_id, line, ledger_account, asset, amount), E'\\x1e'
                   ORDER BY tx_id COLLATE "C", line) AS said
        FROM journal_entry e JOIN journal_tx t ON t.id = e.tx_id GROUP BY t.batch
    )
    SELECT count(*) + (SELECT count(*) FROM journal_tx WHERE batch IS NULL),
           count(*) FILTER (
               WHERE b.id IS NULL OR t.n IS DISTINCT FROM b.txs
                  OR journal_digest(b.previous, t.said, e.said) <> b.hash
                  OR b.previous <> coalesce(p.hash, '') OR (p.id IS NULL) <> (b.number = 1)
           ) + (SELECT count(*) FROM journal_tx WHERE batch IS NULL)
    FROM journal_batch b FULL JOIN txs t ON t.batch = b.id LEFT JOIN entries e ON e.batch = b.id
    LEFT JOIN journal_batch p ON p.chain = b.chain AND p.number = b.number - 1
"""
SEALS_LAW = "each seal is over the batches that bear it, and over the seal before it"
SEALS = """
    SELECT count(*), count(*) FILTER (
        WHERE s.number IS NULL OR s.batches IS DISTINCT FROM b.n
           OR journal_digest(s.previous, b.said, '') IS DISTINCT FROM s.hash
           OR s.previous <> coalesce(p.hash, '') OR (p.number IS NULL) <> (s.number = 1))
    FROM journal_seal s
    FULL JOIN (SELECT seal, count(*) AS n, string_agg(hash, E'\\x1e' ORDER BY id) AS said
               FROM journal_batch WHERE seal IS NOT NULL GROUP BY seal) b ON b.seal = s.number
    LEFT JOIN journal_seal p ON p.number = s.number - 1
"""


@dataclass(frozen=True)
class Seal:
    """Who keeps ``hash`` somewhere else can tell later that nothing before it was changed."""

    number: int
    hash: str
    batches: int


async def seal(tx: Tx, at: datetime) -> Seal | None:
    """Seal every batch that is committed and has none yet. None: there is none, or another
    process is at it."""
    alone = await tx.scalar(text("SELECT pg_try_advisory_xact_lock(:key)"), {"key": LOCK})
    if not alone:
        return None
    row = (await tx.execute(_SEAL, {"at": at})).one_or_none()
    return None if row is None else Seal(row.number, row.hash, int(row.batches))


async def newest(tx: Tx) -> Seal | None:
    row = (
        await tx.execute(
            text("SELECT number, hash, batches FROM journal_seal ORDER BY number DESC LIMIT 1")
        )
    ).one_or_none()
    return None if row is None else Seal(row.number, row.hash, int(row.batches))
