"""The whole product under load and kills: is every request on the books, once, and no other?

``python -m bench.truth [--requests N] [--seed K] [--kills M] [--break NAME]`` starts an
installation with two workers and a second gateway of two processes, kills each of its parts again
and again, lets everything settle, and compares what the workers wrote down with the books. The
exit status is 1 when a request was lost, counted twice, or charged though no worker began it.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from random import Random
from time import monotonic
from typing import Any

import httpx
import uvloop

from bench.truth_books import Findings, attempts_in, begun_in, compare, parked, unsettled
from bench.truth_faults import BREAKS, PARTS, Killer, rounds
from bench.truth_load import Load, Told
from bench.truth_mix import SHARES
from bench.truth_place import Place, place
from cli.client import Brain
from cli.faults import CliError
from cli.supervisor.preflight import raise_open_files
from tests.support.wait import until

REQUESTS_A_KILL = 2500
SETTLED_SECONDS_MAX = 300.0
STILL_SECONDS = 60.0  # without a new row
FOREVER_SECONDS = 6 * 3600.0
WINDOW_SECONDS = 10.0
PROGRESS_SECONDS = 10.0
NOTHING = Told()
OPERATOR_SECONDS = 2.0


@dataclass(frozen=True)
class Asked:
    """What one run is to do."""

    requests: int
    seed: int
    kills: int
    clients: int
    planted: str = ""
    parts: tuple[str, ...] = PARTS


@dataclass
class Outcome:
    """What one run showed."""

    told: Told
    found: Findings
    kills: dict[str, int]
    asked: dict[str, int]  # those of them that had a SIGTERM
    deaths: list[str]
    seconds: float
    unsettled: int = 0
    unproven: list[str] = field(default_factory=list)
    parked: list[str] = field(default_factory=list)

    @property
    def refused_keys(self) -> int:
        return self.told.statuses[401] + self.told.statuses[403]

    def lines(self) -> list[str]:
        told, found = self.told, self.found
        statuses = _counts(told.statuses)
        kills, sigterms = _counts(self.kills), _counts(self.asked)
        return [
            *found.lines(),
            *(f"killed: {one}" for one in self.deaths if self.wrong()),
            *(f"parked: {one}" for one in self.parked[:5]),
            f"killed {kills}; by SIGTERM {sigterms}",
            f"heard {_counts({kind: told.kinds[kind] for kind in SHARES})}",
            f"answers {statuses} broken:{told.broken} left:{told.left} unheard:{told.unheard}",
            f"requests={told.sent} begun={found.begun} counted={found.counted}"
            f" keyed={found.keyed} kills={sum(self.kills.values())} lost={len(found.lost)}"
            f" doubled={len(found.doubled)} phantom={len(found.phantom)}"
            f" parked={len(self.parked)} unsettled={self.unsettled}"
            f" unproven={len(self.unproven)} known_key_refused={self.refused_keys}"
            f" seconds={self.seconds:.0f}",
        ]

    def wrong(self) -> bool:
        return bool(
            self.found.wrong()
            or self.parked
            or self.unsettled
            or self.unproven
            or self.refused_keys
            or not self.found.begun
            or SHARES.keys() - self.told.kinds.keys()
        )


def _counts(of: Mapping[Any, int]) -> str:
    return " ".join(f"{name}:{count}" for name, count in sorted(of.items()))


async def run(asked: Asked, here: Place) -> Outcome:
    """One whole run: load and kills, then silence, then the comparison."""
    chance, began = Random(asked.seed), monotonic()
    load = Load(here.ports, here.callers, asked.requests, Random(asked.seed + 1), asked.clients)
    killer = Killer(here.product.pids, lambda: here.crew.process.pid)
    beside = [asyncio.create_task(_tell(load, killer)), asyncio.create_task(_operate(here))]
    await asyncio.gather(load.run(), _kill(load, killer, asked, chance))
    for task in beside:
        task.cancel()
    took = monotonic() - began
    left, found = await settled(here, load.told)
    with here.admin() as brain:
        unproven = [one["name"] for one in brain.get("/api/v1/proofs") if not one["holds"]]
    return Outcome(
        told=load.told,
        found=found,
        kills=dict(killer.killed),
        asked=dict(killer.asked),
        deaths=killer.log,
        seconds=took,
        unsettled=left,
        unproven=unproven,
        parked=await parked(here.database_url()),
    )


async def _kill(load: Load, killer: Killer, asked: Asked, chance: Random) -> None:
    """Each time that so many requests were sent, something dies."""
    moments = sorted(chance.random() * 0.95 * asked.requests for _ in range(asked.kills))
    for at, part in zip(moments, rounds(asked.parts, chance), strict=False):
        await until(partial(_sent, load, at), FOREVER_SECONDS)
        await until(partial(_died, load, killer, part, chance), FOREVER_SECONDS, every=0.2)


def _sent(load: Load, at: float) -> bool:
    return load.told.sent >= at


def _died(load: Load, killer: Killer, part: str, chance: Random) -> bool:
    """Where nothing of this part runs just now, it is looked for again, while there is load."""
    return killer.kill(part, chance) or load.told.sent >= load.requests


async def _tell(load: Load, killer: Killer) -> None:
    while True:
        await asyncio.sleep(PROGRESS_SECONDS)
        told = load.told
        print(
            f"  sent {told.sent} kills {killer.killed.total()} ({killer.sought})"
            f" broken {told.broken} refused {told.statuses.total() - told.statuses[200]}",
            file=sys.stderr,
            flush=True,
        )


async def _operate(here: Place) -> None:
    """Start a deployment again where it was given up: so many of its workers die within ten
    minutes that it may be. People would do so."""
    known: tuple[Brain, Brain] | None = None  # log-ins that are kept: they have a rate
    while True:
        try:
            if known is None:
                admin = await asyncio.to_thread(here.admin)
                known = admin, await asyncio.to_thread(here.of_owner)
            await asyncio.to_thread(here.start_anew, *known)
        except (CliError, httpx.HTTPError):
            known = None
        await asyncio.sleep(OPERATOR_SECONDS)


async def settled(here: Place, told: Told = NOTHING) -> tuple[int, Findings]:
    """Once the gateways have shipped and the windows are closed: the pieces that are not settled
    after all, and what the comparison finds. What is missing may still come, but not for ever: a
    gateway that has something tries again every ten seconds."""
    deadline, url = monotonic() + SETTLED_SECONDS_MAX, here.database_url()
    counted, since = -1, monotonic()
    while True:
        await asyncio.sleep(WINDOW_SECONDS)
        left, late = await unsettled(url), monotonic() > deadline
        if left and not late:
            continue
        attempts = await attempts_in(url)
        found = compare(begun_in(here.journal), told.whole, attempts, told.keyed)
        if found.counted != counted:
            counted, since = found.counted, monotonic()
        if late or not found.lost or monotonic() - since > STILL_SECONDS:
            return left, found


async def _run(asked: Asked) -> Outcome:
    async with place(asked.planted) as here:
        return await run(asked, here)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.truth", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, help="one for each 2,500 requests, if not said")
    parser.add_argument("--clients", type=int, default=48)
    parser.add_argument("--parts", nargs="*", default=PARTS, choices=PARTS, help="that are killed")
    parser.add_argument("--break", default="", choices=["", *BREAKS], help="plant this fault")
    given = vars(parser.parse_args())
    given["planted"] = given.pop("break")
    if given["kills"] is None:
        given["kills"] = max(len(PARTS), given["requests"] // REQUESTS_A_KILL)
    asked = Asked(**given | {"parts": tuple(given["parts"])})
    raise_open_files()
    print(
        f"requests={asked.requests} seed={asked.seed} kills={asked.kills} break={asked.planted}",
        flush=True,
    )
    found = uvloop.run(_run(asked))
    print("\n".join(found.lines()))
    return 1 if found.wrong() else 0


if __name__ == "__main__":
    sys.exit(main())
