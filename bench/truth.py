"""The whole product under load and SIGKILLs: is every request on the books, once, and no other?

``python -m bench.truth [--requests N] [--seed K] [--kills M] [--break NAME]`` starts an
installation with two workers and a second gateway of two processes, kills each of its parts again
and again, lets everything settle, and compares what the workers wrote down with the books. The
exit status is 1 when a request was lost, counted twice, or charged though no worker began it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any

from bench.truth_books import (
    Findings,
    attempts_in,
    begun_in,
    compare,
    parked,
    unsettled,
)
from bench.truth_faults import BREAKS, PARTS, Killer, planted, rounds
from bench.truth_load import Load, Told
from cli.client import Brain
from cli.supervisor.environment import ADMIN_EMAIL
from cli.supervisor.preflight import raise_open_files
from tests.support import gateway as gateways
from tests.support.gateway import Gateway
from tests.support.installation import Installation
from tests.support.wait import until

REQUESTS_A_KILL = 2500
WORKERS, CREW = 2, 2
READY_SECONDS_MAX = 90.0
SETTLED_SECONDS_MAX = 300.0
FOREVER_SECONDS = 6 * 3600.0
WINDOW_SECONDS = 10.0
PROGRESS_SECONDS = 10.0


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
        statuses = " ".join(f"{code}:{count}" for code, count in sorted(told.statuses.items()))
        kills = " ".join(f"{part}:{count}" for part, count in sorted(self.kills.items()))
        return [
            *found.lines(),
            *(f"killed: {one}" for one in self.deaths if self.wrong()),
            *(f"parked: {one}" for one in self.parked[:5]),
            f"killed {kills}",
            f"answers {statuses} broken:{told.broken} left:{told.left} unheard:{told.unheard}",
            f"requests={told.sent} begun={found.begun} counted={found.counted}"
            f" kills={sum(self.kills.values())} lost={len(found.lost)}"
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
        )


@dataclass(frozen=True)
class Place:
    """The installation, its second gateway, and where workers write what they began."""

    product: Installation
    crew: Gateway
    journal: Path

    @property
    def ports(self) -> list[int]:
        own = int(self.product.ready["gateway_url"].rsplit(":", 1)[1])
        return [own, self.crew.port, self.crew.port]  # by processes

    def database_url(self) -> str:
        return str(self.product.state()["embedded_database_url"])

    def admin(self) -> Brain:
        """The administrator's calls of the management API."""
        url = self.product.ready["brain_url"]
        body = {"email": ADMIN_EMAIL, "password": secret(self.product, "ADMIN_PASSWORD")}
        with Brain(url) as brain:
            token = brain.post("/auth/login", body)["access_token"]
        return Brain(url, token=token)


def secret(product: Installation, name: str) -> str:
    return str(json.loads((product.home / "secrets.json").read_text())[name])


@asynccontextmanager
async def place(broken: str = "") -> AsyncIterator[Place]:
    """A whole installation on free ports, with a journal, two workers and two gateways."""
    folder = Path(tempfile.mkdtemp(prefix="ganglion-truth-"))
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        product, journal = Installation(folder / "home"), folder / "journal"
        stack.callback(_stopped, product)
        own = {"STAND_IN_JOURNAL": str(journal)}
        ready = await asyncio.to_thread(product.start, extra=own)
        if "brain_url" not in ready:
            raise RuntimeError(f"the product did not start: {ready}")
        crew = await asyncio.to_thread(_join, product, folder, broken)
        stack.callback(crew.kill)
        here = Place(product, crew, journal)
        await asyncio.to_thread(_scale, here)
        await until(lambda: _workers(here) == WORKERS, READY_SECONDS_MAX, every=0.3)
        await until(partial(_serves, here), READY_SECONDS_MAX, every=0.2)
        yield here


def _stopped(product: Installation) -> None:
    if product.process is not None and product.process.poll() is None:
        product.stop()


def _join(product: Installation, folder: Path, broken: str) -> Gateway:
    return gateways.launch(
        folder / "crew",
        brain_url=product.ready["brain_url"],
        gateway_token=secret(product, "GATEWAY_TOKEN"),
        gateway_name="crew",
        gateway_processes=CREW,
        pythonpath=planted(broken, folder / "planted"),
    )


def _pool(here: Place, brain: Brain) -> Any:
    wanted = here.product.ready["model"]
    found = brain.pages("/api/v1/deployments", pool=True)
    return next(one for one in found if one["pool"] and one["model"] == wanted)


def _scale(here: Place) -> None:
    with here.admin() as brain:
        path = f"/api/v1/deployments/{_pool(here, brain)['deployment_id']}/scale"
        brain.post(path, {"replicas": WORKERS})


def _workers(here: Place) -> int:
    with here.admin() as brain:
        return int(_pool(here, brain)["ready_replicas"])


async def _serves(here: Place) -> bool:
    one = Load(
        here.ports[1:], here.product.ready["api_key"], here.product.ready["model"], 4, Random(0), 2
    )
    await one.run()
    return one.told.statuses[200] > 0


async def run(asked: Asked) -> Outcome:
    """One whole run: load and kills, then silence, then the comparison."""
    chance, began = Random(asked.seed), monotonic()
    async with place(asked.planted) as here:
        ready = here.product.ready
        load = Load(
            here.ports,
            ready["api_key"],
            ready["model"],
            asked.requests,
            Random(asked.seed + 1),
            asked.clients,
        )
        killer = Killer(here.product.pids, lambda: here.crew.process.pid)
        killing = asyncio.create_task(_kill(load, killer, asked, chance))
        telling = asyncio.create_task(_tell(load, killer))
        await load.run()
        await killing
        telling.cancel()
        left = await _settle(here)
        url = here.database_url()
        found = compare(begun_in(here.journal), load.told.whole, await attempts_in(url))
        with here.admin() as brain:
            unproven = [one["name"] for one in brain.get("/api/v1/proofs") if not one["holds"]]
        return Outcome(
            told=load.told,
            found=found,
            kills=dict(killer.killed),
            deaths=killer.log,
            seconds=monotonic() - began,
            unsettled=left,
            unproven=unproven,
            parked=await parked(url),
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
            f"  sent {told.sent} kills {killer.killed.total()} broken {told.broken}"
            f" refused {told.statuses.total() - told.statuses[200]}",
            file=sys.stderr,
            flush=True,
        )


async def _settle(here: Place) -> int:
    """Let the gateways ship and the windows close: what is not settled in the end."""
    await asyncio.to_thread(here.crew.stop)
    if any(here.crew.spool.glob("*/*.spool")):  # the brain was away: the next start ships it
        again = await asyncio.to_thread(_join_again, here)
        await until(lambda: _boots(here) <= CREW, READY_SECONDS_MAX, every=0.2)
        await asyncio.to_thread(again.stop)
    deadline = monotonic() + SETTLED_SECONDS_MAX
    await asyncio.sleep(WINDOW_SECONDS)
    while monotonic() < deadline:
        left = await unsettled(here.database_url())
        if not left:
            return 0
        await asyncio.sleep(1)
    return left


def _join_again(here: Place) -> Gateway:
    return _join(here.product, here.crew.log.parent.parent, "")


def _boots(here: Place) -> int:
    return sum(1 for _ in here.crew.spool.iterdir())


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.truth", description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, help="one for each 2,500 requests, if not said")
    parser.add_argument("--clients", type=int, default=48)
    parser.add_argument("--break", default="", choices=["", *BREAKS], help="plant this fault")
    given = vars(parser.parse_args())
    given["planted"] = given.pop("break")
    if given["kills"] is None:
        given["kills"] = max(len(PARTS), given["requests"] // REQUESTS_A_KILL)
    asked = Asked(**given)
    raise_open_files()
    print(
        f"requests={asked.requests} seed={asked.seed} kills={asked.kills} break={asked.planted}",
        flush=True,
    )
    found = asyncio.run(run(asked))
    print("\n".join(found.lines()))
    return 1 if found.wrong() else 0


if __name__ == "__main__":
    sys.exit(main())
