"""What changed, for subscribers that keep a copy (gateways): never skipped, never late.

A change is marked in the transaction that makes it. Readers ask for marks of transactions at or
above the oldest that could still have been running when they last looked (``pg_snapshot_xmin``),
so a transaction that commits late is still read; marks may be read twice, which is harmless,
because a reader loads the present state of what is marked. A sequence cursor would skip late
commits for ever.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import BigInteger, Index, Text, text
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing.db import Base, Tx

CHANNEL = "ganglion_changes"


class Change(Base):
    """``xid`` is the marking transaction's id (xid8 as bigint)."""

    __tablename__ = "change"
    __table_args__ = (Index("ix_change_xid", "xid"),)

    entity: Mapped[str] = mapped_column(Text, primary_key=True)
    entity_id: Mapped[str] = mapped_column(Text, primary_key=True)
    xid: Mapped[int] = mapped_column(BigInteger)


@dataclass(frozen=True)
class Marks:
    """``cursor`` is for the next read."""

    cursor: int
    changed: frozenset[tuple[str, str]]


async def mark(tx: Tx, entity: str, entity_id: str) -> None:
    """Mark a row as changed: ``key``, ``account``, ``deployment``, ``replica`` or
    ``pod``.

    One row per entity, so the table does not grow with the number of changes. Wakes readers.
    """
    xid = text("pg_current_xact_id()::text::bigint")
    statement = insert(Change).values(entity=entity, entity_id=entity_id, xid=xid)
    await tx.execute(
        statement.on_conflict_do_update(
            index_elements=["entity", "entity_id"], set_={"xid": statement.excluded.xid}
        )
    )
    await tx.execute(text("SELECT pg_notify(:channel, '')"), {"channel": CHANNEL})


async def marks_since(tx: Tx, cursor: int) -> Marks:
    """Marks that a reader at ``cursor`` may not have seen; 0 reads all."""
    rows = await tx.execute(
        text(
            "SELECT entity, entity_id, pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS x"
            " FROM (SELECT 1) one LEFT JOIN change ON xid >= :cursor"
        ),
        {"cursor": cursor},
    )
    found = rows.all()
    changed = frozenset((row.entity, row.entity_id) for row in found if row.entity is not None)
    return Marks(cursor=found[0].x, changed=changed)
