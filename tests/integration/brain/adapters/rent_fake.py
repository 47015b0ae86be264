"""Rents one fake machine from a process of its own: ``python -m … FOLDER TAG SCRIPT``."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from brain.adapters.clouds.fake import FakeCloud, Pace
from brain.clouds import Boot, CloudError, Order
from kernel.clock import SystemClock


async def main(folder: str, tag: str, script: str) -> str:
    cloud = FakeCloud(Path(folder), SystemClock(), pace=Pace(boot=0, end=0))
    offers = {one.key: one for one in await cloud.offers()}
    if "one" not in offers:
        return "none"
    try:
        made = await cloud.create(Order(tag, offers["one"], Boot(script)))
    except CloudError as refused:
        return type(refused).__name__
    await cloud.listing()  # lets it boot
    return made.machine_id


if __name__ == "__main__":
    print(asyncio.run(main(*sys.argv[1:])), flush=True)
