"""The end of tasks: whatever they do with their cancellation, they are over."""

from __future__ import annotations

import asyncio

import pytest

from brain.plumbing import ended
from brain.plumbing import tasks as module


async def for_ever() -> None:
    await asyncio.Event().wait()


async def test_those_that_run_and_those_that_have_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 1000.0)
    done = asyncio.create_task(asyncio.sleep(0))
    await done
    running = [asyncio.create_task(for_ever()) for _ in range(3)]
    await ended(*running, done, None)
    assert all(task.cancelled() for task in running)


async def test_one_whose_library_lost_the_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AGAIN_SECONDS", 0.01)
    lost = 0

    async def deaf() -> None:
        nonlocal lost
        while lost < 3:
            try:
                await for_ever()
            except asyncio.CancelledError:
                lost += 1
        await for_ever()

    task = asyncio.create_task(deaf())
    await asyncio.sleep(0)
    async with asyncio.timeout(30):
        await ended(task)
    assert (task.cancelled(), lost) == (True, 3)


async def test_its_own_cancellation_is_not_taken_for_theirs() -> None:
    async def slow() -> None:
        try:
            await for_ever()
        finally:
            await asyncio.shield(gate.wait())

    gate = asyncio.Event()
    task = asyncio.create_task(slow())
    await asyncio.sleep(0)
    stopping = asyncio.create_task(ended(task))
    await asyncio.sleep(0)
    stopping.cancel()
    with pytest.raises(asyncio.CancelledError):
        await stopping
    assert not task.done()
    gate.set()
    await asyncio.wait({task})


async def test_one_that_fails_at_its_end_does_not_stop_the_stop() -> None:
    async def failing() -> None:
        try:
            await for_ever()
        finally:
            raise OSError

    task = asyncio.create_task(failing())
    await asyncio.sleep(0)
    await ended(task)
    assert isinstance(task.exception(), OSError)
