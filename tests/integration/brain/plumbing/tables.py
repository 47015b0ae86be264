"""A table of the tests' own, with a state and with work to do."""

from __future__ import annotations

from enum import StrEnum

from sqlalchemy import MetaData, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

from brain.plumbing import Ctx, Stated, Work
from kernel.machine import Machine


class Light(StrEnum):
    RED = "red"
    GREEN = "green"
    OFF = "off"


class Press(StrEnum):
    GO = "go"
    STOP = "stop"
    CUT = "cut"


LIGHT = Machine(
    name="light",
    start=Light.RED,
    table={
        (Light.RED, Press.GO): Light.GREEN,
        (Light.GREEN, Press.STOP): Light.RED,
        (Light.RED, Press.CUT): Light.OFF,
    },
)


class TestBase(DeclarativeBase):
    """Apart from the product's tables, which migrations are compared with."""

    metadata = MetaData()


class Lamp(Stated, Work, TestBase):
    __tablename__ = "test_lamp"

    id: Mapped[str] = mapped_column(Text, primary_key=True)


async def make_lamps(ctx: Ctx) -> None:
    async with ctx.db.engine.begin() as connection:
        await connection.run_sync(TestBase.metadata.create_all)
