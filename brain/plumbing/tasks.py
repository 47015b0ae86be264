"""The end of a task that runs beside requests."""

from __future__ import annotations

import asyncio
from typing import Any

AGAIN_SECONDS = 5.0


async def ended(*tasks: asyncio.Task[Any] | None) -> None:
    """Cancel them and wait until they have ended, whatever they raise. A library can lose a
    cancellation (as Python 3.11's ``wait_for`` does), so one that goes on is told again."""
    left = {task for task in tasks if task is not None}
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_SECONDS)
