"""How many rows wait for each reconciler, and how long the oldest has waited."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select

from brain.plumbing.db import Base, Tx
from brain.plumbing.work import Work


@dataclass(frozen=True)
class Queue:
    """``name``: the table's. ``age_seconds`` 0: nothing is due."""

    name: str
    due: int
    age_seconds: float


async def queues(tx: Tx, now: datetime) -> list[Queue]:
    """One for every kind of work row that this process knows; cheap, by the index on ``due_at``."""
    kinds = sorted(
        (mapper.class_ for mapper in Base.registry.mappers if issubclass(mapper.class_, Work)),
        key=lambda kind: str(kind.__tablename__),
    )
    found = []
    for kind in kinds:
        due, oldest = (
            await tx.execute(select(func.count(), func.min(kind.due_at)).where(kind.due_at <= now))
        ).one()
        age = 0.0 if oldest is None else (now - oldest).total_seconds()
        found.append(Queue(str(kind.__tablename__), due, age))
    return found
