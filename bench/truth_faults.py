"""What the proof does to the product: kills by chance, and faults planted to be found.

A planted fault changes the code of the gateways that the proof starts beside the product's own:
their interpreters import ``sitecustomize`` from a folder that ``planted`` makes.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from pathlib import Path
from random import Random

import psutil

SUPERVISED = ("gateway", "brain", "worker", "agent", "postgres", "valkey")
PARTS = (*SUPERVISED, "stand-in", "crew")
# PostgreSQL is not asked: it would wait until each of its clients has left, and take no new one.
MAY_BE_ASKED = frozenset(PARTS) - {"postgres"}
ASKED_SHARE = 0.3


class Killer:
    """The end of one process of the installation at a time: SIGKILL, or now and then SIGTERM."""

    def __init__(self, pids: Callable[[], dict[str, int | None]], crew: Callable[[], int]) -> None:
        self._pids = pids
        self._crew = crew
        self.killed: Counter[str] = Counter()
        self.asked: Counter[str] = Counter()  # those of them that had a SIGTERM
        self.sought = ""  # what is to die next
        self.log: list[str] = []

    def kill(self, part: str, chance: Random) -> bool:
        """False when nothing of this part runs just now."""
        self.sought = part
        with suppress(psutil.Error, OSError, KeyError, ValueError, IndexError):
            pid = self._victim(part, chance)
            if pid is None:  # it is being started again
                return False
            asks = part in MAY_BE_ASKED and chance.random() < ASKED_SHARE
            number = signal.SIGTERM if asks else signal.SIGKILL
            os.kill(pid, number)
            self.killed[part] += 1
            self.asked[part] += asks
            self.log.append(f"{part} by {number.name} at {time.time_ns()}")
            return True
        return False

    def _victim(self, part: str, chance: Random) -> int | None:
        if part == "crew":
            return chance.choice(psutil.Process(self._crew()).children()).pid
        if part == "stand-in":
            agent = self._pids()["agent"]
            if agent is None:
                return None
            children = psutil.Process(agent).children(recursive=True)
            workers = [one for one in children if "standins.worker" in one.cmdline()]
            return chance.choice(workers).pid
        return self._pids()[part]


def rounds(parts: Sequence[str], chance: Random) -> Iterable[str]:
    """The parts in an order by chance, each as often as the others."""
    while True:
        once = list(parts)
        chance.shuffle(once)
        yield from once


def forgetful() -> None:
    """Usage that the brain did not take is taken for shipped."""
    from inference.brain import Brain
    from kernel.errors import GanglionError
    from kernel.wire.gateway import UsageAnswer, UsageBatch

    real = Brain.usage

    async def usage(self: Brain, message: UsageBatch) -> UsageAnswer:
        try:
            return await real(self, message)
        except GanglionError:
            return UsageAnswer(accepted=0, known=0)

    Brain.usage = usage  # type: ignore[method-assign]


def twice() -> None:
    """What a dead gateway had finished is ended once more by the next."""
    from msgspec import structs

    from inference.spool import Remains
    from kernel.wire.gateway import Segment, SegmentEnd, segment_key

    real = Remains.segments

    def segments(self: Remains) -> list[Segment]:
        found = real(self)
        more = [
            structs.replace(
                one, number=one.number + 1, key=segment_key(one.request_id, one.attempt, 1)
            )
            for one in found
            if one.end is SegmentEnd.DONE and not one.number
        ]
        return found + more

    Remains.segments = segments  # type: ignore[method-assign]


def early() -> None:
    """Now and then a request counts as given to a worker that is not given it."""
    from inference.exchange import Exchange
    from inference.links import Link

    real, turns = Exchange.link_ready, Counter[str]()

    def link_ready(self: Exchange, link: Link) -> None:
        turns["all"] += 1
        if turns["all"] % 50:
            real(self, link)
            return
        send = Link.send
        Link.send = lambda *_: None  # type: ignore[method-assign]
        try:
            real(self, link)
        finally:
            Link.send = send  # type: ignore[method-assign]
        asyncio.get_running_loop().call_later(0.3, leave, self)

    def leave(exchange: Exchange) -> None:
        exchange._client.cut()
        exchange.client_gone()

    Exchange.link_ready = link_ready  # type: ignore[method-assign]


def rerun() -> None:
    """A request whose key was used is run once more."""
    from inference.idempotency.desk import BrainDesk
    from kernel.wire.replays import Claim, ClaimAnswer, Said

    async def claim(self: BrainDesk, asked: Claim) -> ClaimAnswer:
        return ClaimAnswer(Said.RUN, asked.request_id)

    BrainDesk.claim = claim  # type: ignore[method-assign]


BREAKS: dict[str, Callable[[], None]] = {
    "forgetful": forgetful,
    "twice": twice,
    "early": early,
    "rerun": rerun,
}


def planted(name: str, folder: Path) -> str:
    """The PYTHONPATH of programs in which the fault is planted; without a name, in none."""
    ours = str(Path(__file__).resolve().parents[1])
    if not name:
        return ours
    folder.mkdir()
    lines = f"from bench.truth_faults import BREAKS\nBREAKS[{name!r}]()\n"
    (folder / "sitecustomize.py").write_text(lines)
    return f"{folder}:{ours}"
