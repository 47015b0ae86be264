"""Eight schedulers at one database: requests that claim and let go, and what was claimed twice.

``python -m bench.schedulers [--requests N]`` runs them as eight processes on a PostgreSQL of their
own and prints one line; the exit status is 1 when a GPU was ever claimed twice.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from time import perf_counter

import asyncpg
from sqlalchemy import text

from bench.fleet_rows import add_nodes, system_ctx
from brain import fleet, migrate
from brain.fleet import Claim, LeaseView
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx
from cli.embedded import Postgres
from kernel.errors import NoCapacity
from kernel.ids import DeploymentId, NodeId, ReplicaId
from kernel.wire.agent import LaunchSpec

SCHEDULERS = 8
NODES = 40
GPUS = 8
KEPT = 30  # leases that one scheduler holds at most: seven in ten GPUs are held
LAUNCH = LaunchSpec(engine="standin", image="standin", arguments=[])


@dataclass(frozen=True)
class Tally:
    """How the requests of one scheduler went. Every lease that was ever won is in ``won``."""

    won: int
    lost: int


async def schedule(ctx: Ctx, nodes: list[NodeId], chance: Random, requests: int) -> Tally:
    """So many requests one after the other; old leases are let go to make room."""
    held: list[LeaseView] = []
    won = lost = 0
    for _ in range(requests):
        if len(held) >= KEPT:
            await _let_go(ctx, held.pop(chance.randrange(len(held))))
        try:
            held.append(await _claim(ctx, chance.choice(nodes), chance.choice([1, 1, 1, 2])))
            won += 1
        except NoCapacity:
            lost += 1
    return Tally(won, lost)


async def _claim(ctx: Ctx, node_id: NodeId, gpus: int) -> LeaseView:
    wanted = Claim(
        replica_id=ctx.ids.new(ReplicaId),
        deployment_id=ctx.ids.new(DeploymentId),
        node_id=node_id,
        gpu_count=gpus,
        launch=LAUNCH,
        payer=PLATFORM_ACCOUNT,
        mode="pool",
    )
    async with ctx.db.begin() as tx:
        return await fleet.claim(tx, wanted, now_ns=ctx.clock.now_ns(), ids=ctx.ids)


# What the end of a lease writes, in one statement: here claims are tried, not ends.
_LET_GO = text(
    "WITH freed AS (UPDATE lease_gpu SET live = false WHERE lease_id = :lease)"
    " UPDATE lease SET state = 'closed', closed_ns = :now WHERE lease_id = :lease"
)


async def _let_go(ctx: Ctx, lease: LeaseView) -> None:
    async with ctx.db.begin() as tx:
        await tx.execute(_LET_GO, {"lease": lease.lease_id, "now": ctx.clock.now_ns()})


async def wrongs(ctx: Ctx, won: int) -> Counter[str]:
    """What must never be: counted by name, nothing where all is well."""
    found: Counter[str] = Counter()
    for name, query in _WRONG.items():
        async with ctx.db.begin() as tx:
            found[name] = int(await tx.scalar(text(query)) or 0)
    async with ctx.db.begin() as tx:
        leases = int(await tx.scalar(text("SELECT count(*) FROM lease")) or 0)
    found["leases that nobody won"] = abs(leases - won)
    return +found


# The index is the last word on double claims at every moment; the rest is what it leaves open.
_WRONG = {
    "GPUs held twice": "SELECT count(*) FROM (SELECT gpu_uuid FROM lease_gpu WHERE live"
    " GROUP BY gpu_uuid HAVING count(*) > 1) twice",
    "indexes that forbid it gone": "SELECT 1 - count(*) FROM pg_index"
    " WHERE indexrelid = 'uq_lease_gpu_live'::regclass AND indisunique AND indisvalid",
    "leases with other GPUs than asked": "SELECT count(*) FROM (SELECT l.lease_id FROM lease l"
    " LEFT JOIN lease_gpu g USING (lease_id) GROUP BY l.lease_id, l.gpu_count"
    " HAVING count(g.gpu_uuid) <> l.gpu_count) other",
    "leases with no meter": "SELECT count(*) FROM lease l LEFT JOIN meter_lease m USING (lease_id)"
    " WHERE m.lease_id IS NULL",
}


async def _processes(url: str, requests: int) -> list[Tally]:
    async def one(number: int) -> Tally:
        command = [sys.executable, "-m", "bench.schedulers", "--at", url, "--seed", str(number)]
        command += ["--requests", str(requests // SCHEDULERS)]
        child = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
        said, _ = await child.communicate()
        if child.returncode != 0:
            raise RuntimeError(f"scheduler {number} failed")
        won, lost = said.split()
        return Tally(int(won), int(lost))

    return await asyncio.gather(*(one(number) for number in range(SCHEDULERS)))


async def _long(requests: int) -> int:
    home = Path(tempfile.mkdtemp(prefix="ganglion-claims-"))
    postgres = Postgres(home)
    try:
        await postgres.start()
        connection = await asyncpg.connect(postgres.url("postgres"))
        await connection.execute("CREATE DATABASE claims")
        await connection.close()
        url = postgres.url("claims")
        await migrate.upgrade(url)
        ctx = system_ctx(url)
        await add_nodes(ctx, NODES, gpus=GPUS)
        start = perf_counter()
        tallies = await _processes(url, requests)
        seconds = perf_counter() - start
        won, lost = sum(t.won for t in tallies), sum(t.lost for t in tallies)
        wrong = await wrongs(ctx, won)
        await ctx.db.close()
    finally:
        await postgres.stop()
        shutil.rmtree(home, ignore_errors=True)
    print(f"requests={won + lost} claims={won} refused={lost} double={wrong['GPUs held twice']}")
    print(f"wrong={dict(wrong)} in {seconds:.0f} s")
    return 1 if wrong else 0


async def _child(url: str, seed: int, requests: int) -> int:
    ctx = system_ctx(url, pool_size=1)
    async with ctx.db.begin() as tx:
        rows = await tx.scalars(text("SELECT node_id FROM node ORDER BY node_id"))
        nodes = [NodeId(row) for row in rows]
    done = await schedule(ctx, nodes, Random(seed), requests)
    await ctx.db.close()
    print(done.won, done.lost)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.schedulers", description=__doc__)
    parser.add_argument("--requests", type=int, default=100_000, help="of all together")
    parser.add_argument("--at", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.at:
        return asyncio.run(_child(asked.at, asked.seed, asked.requests))
    return asyncio.run(_long(asked.requests))


if __name__ == "__main__":
    sys.exit(main())
