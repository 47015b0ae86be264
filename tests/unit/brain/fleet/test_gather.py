"""Loads that gather: fewer than callers, none begun before its caller, failures told to all."""

from __future__ import annotations

import asyncio

from brain.fleet.gather import Gather


class Store:
    """A database that answers when it is told to."""

    def __init__(self) -> None:
        self.loads: list[list[str]] = []
        self.gate = asyncio.Event()
        self.failure: Exception | None = None

    async def load(self, keys: list[str]) -> None:
        self.loads.append(keys)
        await self.gate.wait()
        if self.failure is not None:
            raise self.failure


async def _turns() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_what_comes_while_one_runs_goes_together() -> None:
    store = Store()
    gather = Gather(store.load, at_most=3)
    calls = [asyncio.create_task(gather.load("first"))]
    await _turns()
    calls += [asyncio.create_task(gather.load(key)) for key in ("a", "b", "a", "c", "d")]
    await _turns()
    assert store.loads == [["first"]]
    store.gate.set()
    await asyncio.gather(*calls)
    assert store.loads == [["first"], ["a", "b", "c"], ["d"]]


async def test_a_load_that_runs_already_is_too_old_for_a_new_caller() -> None:
    store = Store()
    gather = Gather(store.load, at_most=3)
    early = asyncio.create_task(gather.load("a"))
    await _turns()
    late = asyncio.create_task(gather.load("a"))
    await _turns()
    store.gate.set()
    await asyncio.gather(early, late)
    assert store.loads == [["a"], ["a"]]


async def test_a_failure_is_told_to_its_callers_and_to_no_later_one() -> None:
    store = Store()
    store.failure = OSError("away")
    gather = Gather(store.load, at_most=3)
    calls = [asyncio.create_task(gather.load(key)) for key in ("a", "b")]
    gone = asyncio.create_task(gather.load("a"))
    await _turns()
    gone.cancel()
    store.gate.set()
    told = await asyncio.gather(*calls, gone, return_exceptions=True)
    assert [type(one) for one in told] == [OSError, OSError, asyncio.CancelledError]
    store.failure = None
    await gather.load("a")
