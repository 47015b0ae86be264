"""Marks do nothing unless someone put a death there, and nothing in the product catches it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import cast

import pytest

from brain.plumbing import Ctx, Db, Killed
from kernel.clock import ManualClock
from kernel.ids import SeededIds


class DeathAt:
    def __init__(self, name: str) -> None:
        self.name = name

    async def reach(self, name: str) -> None:
        if name == self.name:
            raise Killed(name)


def a_ctx() -> Ctx:
    clock = ManualClock()
    return Ctx(db=cast(Db, None), clock=clock, ids=SeededIds(clock, 1))


def test_a_mark_is_passed_in_production() -> None:
    async def walk() -> str:
        await a_ctx().reach("test.anywhere")
        return "beyond it"

    assert asyncio.run(walk()) == "beyond it"


def test_a_death_is_no_exception() -> None:
    ctx = replace(a_ctx(), points=DeathAt("test.here"))

    async def swallow() -> None:
        try:
            await ctx.reach("test.before")
            await ctx.reach("test.here")
        except Exception:  # what a loop of the product does
            return

    with pytest.raises(Killed):
        asyncio.run(swallow())
