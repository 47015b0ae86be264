"""``Idempotency-Key``: a POST that is sent twice acts once, and both get the same answer.

The key's row and the effect commit together, so a crash leaves both or neither. A second request
with the same key waits in ``recall`` until the first transaction has ended.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any

from fastapi import Header
from pydantic import BaseModel
from sqlalchemy import DateTime, Text, delete, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, mapped_column

from brain.plumbing import Base, Tx
from kernel.errors import BadInput
from kernel.wire.replays import KEPT_SECONDS, KEY_BYTES_MAX, KEY_PATTERN

Answer = dict[str, Any]


class IdempotencyRow(Base):
    """``answer`` is null only inside the transaction that makes it."""

    __tablename__ = "idempotency"

    account_id: Mapped[str] = mapped_column(Text, primary_key=True)
    operation: Mapped[str] = mapped_column(Text, primary_key=True)
    key: Mapped[str] = mapped_column(Text, primary_key=True)
    input_hash: Mapped[str] = mapped_column(Text)
    answer: Mapped[Answer | None] = mapped_column(JSONB(none_as_null=True))
    created_at: Mapped[datetime] = mapped_column(DateTime(timezone=True), index=True)


@dataclass(frozen=True)
class Attempt:
    """One try of ``operation`` by ``account_id``; ``key`` None: the caller sent none."""

    account_id: str
    operation: str
    key: str | None
    input_hash: str


def idempotency_key(
    idempotency_key: Annotated[
        str | None,
        Header(
            min_length=1,
            max_length=KEY_BYTES_MAX,
            pattern=KEY_PATTERN,
            description="Any text of yours; the same key and body act once within 24 hours.",
        ),
    ] = None,
) -> str | None:
    """FastAPI dependency: ``key: str | None = Depends(idempotency_key)``."""
    return idempotency_key


def attempt(account_id: str, operation: str, key: str | None, body: BaseModel) -> Attempt:
    packed = json.dumps(body.model_dump(mode="json"), sort_keys=True)
    return Attempt(account_id, operation, key, hashlib.sha256(packed.encode()).hexdigest())


async def recall(tx: Tx, tried: Attempt, *, at: datetime) -> Answer | None:
    """The answer that this key got before, or None for the transaction that must act now.

    Call it first in the transaction that acts, and ``remember`` last. ``BadInput`` when the key
    was used with another body.
    """
    if tried.key is None:
        return None
    row = {"account_id": tried.account_id, "operation": tried.operation, "key": tried.key}
    inserted = await tx.execute(
        insert(IdempotencyRow)
        .values(**row, input_hash=tried.input_hash, answer=None, created_at=at)
        .on_conflict_do_nothing()
        .returning(IdempotencyRow.key)
    )
    if inserted.one_or_none() is not None:
        return None
    earlier = (
        await tx.execute(select(IdempotencyRow.input_hash, IdempotencyRow.answer).filter_by(**row))
    ).one()
    if earlier.input_hash != tried.input_hash:
        raise BadInput(
            "This Idempotency-Key was used with another body; take a new one.",
            code="idempotency_key_reused",
            param="Idempotency-Key",
        )
    answer: Answer = earlier.answer
    return answer


async def remember(tx: Tx, tried: Attempt, answer: Answer) -> None:
    """Keep the answer for the next request with this key. Never put a secret into it."""
    if tried.key is None:
        return
    await tx.execute(
        update(IdempotencyRow)
        .where(
            IdempotencyRow.account_id == tried.account_id,
            IdempotencyRow.operation == tried.operation,
            IdempotencyRow.key == tried.key,
        )
        .values(answer=answer)
    )


async def forget_old(tx: Tx, *, now: datetime, limit: int = 1000) -> int:
    """Delete up to ``limit`` rows older than 24 hours; return how many."""
    old = (
        select(IdempotencyRow.account_id, IdempotencyRow.operation, IdempotencyRow.key)
        .where(IdempotencyRow.created_at < now - timedelta(seconds=KEPT_SECONDS))
        .limit(limit)
        .subquery()
    )
    gone = await tx.execute(
        delete(IdempotencyRow)
        .where(
            IdempotencyRow.account_id == old.c.account_id,
            IdempotencyRow.operation == old.c.operation,
            IdempotencyRow.key == old.c.key,
        )
        .returning(IdempotencyRow.key)
        .execution_options(synchronize_session=False)
    )
    return len(gone.all())
