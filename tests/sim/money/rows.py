"""Rows for the laws, straight from the driver: they are read after every step of every world."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from brain.plumbing import Tx


async def rows(tx: Tx, sql: str, *values: object) -> Sequence[Any]:
    connection = await tx.connection()
    raw = await connection.get_raw_connection()
    driver: Any = raw.driver_connection
    found: Sequence[Any] = await driver.fetch(sql, *values)
    return found
