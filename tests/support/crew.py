"""What one sees of a gateway of several processes: its log, its members, who answered."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.support.gateway import Gateway
from tests.support.wait import until

START_SECONDS = 90
RENEWAL_SECONDS = 120


def told(gateway: Gateway, event: str) -> list[dict[str, object]]:
    """What it logged of this kind; a line that is being written counts once it is whole."""
    lines = gateway.log.read_text().splitlines(keepends=True)
    whole = [json.loads(line) for line in lines if line[:1] == "{" and line[-1:] == "\n"]
    return [line for line in whole if line["event"] == event]


async def serving(gateway: Gateway) -> None:
    await until(lambda: bool(told(gateway, "serving")), START_SECONDS)


async def renewed(gateway: Gateway) -> None:
    """Ask for other processes, and wait until all of them serve."""
    times = len(told(gateway, "renewed"))
    gateway.process.send_signal(signal.SIGHUP)
    await until(lambda: len(told(gateway, "renewed")) > times, RENEWAL_SECONDS)


def members(gateway: Gateway) -> list[int]:
    pid = gateway.process.pid
    return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def alive(*pids: int) -> list[int]:
    """Those of them that run, or that nobody waited for."""
    return [pid for pid in pids if os.path.exists(f"/proc/{pid}")]


def boots(gateway: Gateway) -> set[str]:
    """Of the processes that live: each has a folder in the spool."""
    return {folder.name for folder in gateway.spool.iterdir()}
