"""Costs that are recorded, summed as asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Date, Text, cast, func, literal_column, select
from sqlalchemy.orm import InstrumentedAttribute

from brain.costs.models import CostRow
from brain.plumbing import Tx

_DAY = cast(func.timezone("UTC", CostRow.created_at), Date)
# By what is summed; every answer has its unit beside it, as units of two kinds do not add up.
COLUMNS: Mapping[str, ColumnElement[str] | InstrumentedAttribute[str]] = {
    "day": cast(_DAY, Text),
    "deployment": CostRow.subject,
    "pod": CostRow.subject,
    "volume": CostRow.subject,
    "model": CostRow.model,
    "key": CostRow.key_id,
    "kind": CostRow.kind,
    "provider": CostRow.provider,
    "account": CostRow.who,
}


@dataclass(frozen=True)
class Spent:
    name: str
    unit: str
    units: int
    nano: int


async def spent(tx: Tx, by: str, since: datetime, until: datetime) -> list[Spent]:
    """What was spent in the hours of [since, until), by this and by unit."""
    rows = await tx.execute(
        select(
            COLUMNS[by].label("name"),
            CostRow.unit,
            func.sum(CostRow.units).label("units"),
            func.sum(CostRow.cost_nano).label("nano"),
        )
        .where(CostRow.created_at >= since, CostRow.created_at < until)
        .group_by(literal_column("1"), CostRow.unit)
    )
    return [Spent(row.name, row.unit, int(row.units), int(row.nano)) for row in rows]
