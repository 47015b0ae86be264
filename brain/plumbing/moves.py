"""The only setter of states: table lookup, guarded update on the version, one history row."""

from __future__ import annotations

from datetime import datetime
from typing import Any, TypeVar

from sqlalchemy import DateTime, Integer, Text, inspect, select, update
from sqlalchemy.orm import Mapped, mapped_column
from sqlalchemy.orm.attributes import set_committed_value

from brain.plumbing.db import Base, Tx
from kernel.errors import Conflict
from kernel.machine import E, Machine, S


class Stated:
    """Columns of a row that has a state. Set by :func:`create` and :func:`move` only."""

    __tablename__: str

    state: Mapped[str] = mapped_column(Text)
    version: Mapped[int] = mapped_column(Integer)
    state_reason: Mapped[str] = mapped_column(Text)
    state_at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


StatedT = TypeVar("StatedT", bound=Stated)


class StateHistory(Base):
    """One row for every state that a row was ever in; the version makes it unique."""

    __tablename__ = "state_history"

    entity: Mapped[str] = mapped_column(Text, primary_key=True)
    entity_id: Mapped[str] = mapped_column(Text, primary_key=True)
    version: Mapped[int] = mapped_column(Integer, primary_key=True)
    state_before: Mapped[str | None] = mapped_column(Text)
    event: Mapped[str | None] = mapped_column(Text)
    state: Mapped[str] = mapped_column(Text)
    reason: Mapped[str] = mapped_column(Text)
    at: Mapped[datetime] = mapped_column(DateTime(timezone=True))


def _key(row: Stated) -> tuple[Any, Any]:
    """The primary key's column and this row's value of it."""
    mapper = inspect(type(row))
    assert mapper is not None, "a stated row is a mapped class"
    assert len(mapper.primary_key) == 1, "a stated row has a primary key of one column"
    column = mapper.primary_key[0]
    return column, getattr(row, mapper.get_property_by_column(column).key)


async def create(
    tx: Tx, row: StatedT, machine: Machine[S, E], *, reason: str, at: datetime
) -> StatedT:
    """Add a new row in the machine's start state, with the first line of its history."""
    row.state = machine.start.value
    row.version = 1
    row.state_reason = reason
    row.state_at = at
    tx.add(row)
    _, entity_id = _key(row)
    tx.add(
        StateHistory(
            entity=row.__tablename__,
            entity_id=str(entity_id),
            version=1,
            state=machine.start.value,
            reason=reason,
            at=at,
        )
    )
    await tx.flush()
    return row


async def move(
    tx: Tx, row: Stated, machine: Machine[S, E], event: E, *, reason: str, at: datetime
) -> None:
    """Take ``row`` through ``event``, or raise ``Conflict``.

    ``Conflict`` when the table does not list the move, or when another transaction moved the
    row after it was read: read again, then decide again.
    """
    before = type(machine.start)(row.state)
    after = machine.next(before, event)
    column, entity_id = _key(row)
    version = row.version + 1
    mapped = type(row)
    moved = await tx.execute(
        update(mapped)
        .where(column == entity_id, mapped.version == row.version)
        .values(state=after.value, version=version, state_reason=reason, state_at=at)
        .execution_options(synchronize_session=False)
        .returning(column)
    )
    if moved.one_or_none() is None:
        raise Conflict(
            f"This {machine.name} was changed by someone else meanwhile; look again.",
            internal={"id": str(entity_id), "event": event.value, "version": row.version},
        )
    for name, value in (
        ("state", after.value),
        ("version", version),
        ("state_reason", reason),
        ("state_at", at),
    ):
        set_committed_value(row, name, value)
    tx.add(
        StateHistory(
            entity=row.__tablename__,
            entity_id=str(entity_id),
            version=version,
            state_before=before.value,
            event=event.value,
            state=after.value,
            reason=reason,
            at=at,
        )
    )
    await tx.flush()


async def history(tx: Tx, entity: str, entity_id: str, *, limit: int = 200) -> list[StateHistory]:
    """The states that ``entity_id`` of table ``entity`` went through, oldest first."""
    rows = await tx.scalars(
        select(StateHistory)
        .where(StateHistory.entity == entity, StateHistory.entity_id == entity_id)
        .order_by(StateHistory.version)
        .limit(limit)
    )
    return list(rows)
