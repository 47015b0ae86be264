"""Thousands of agents against the real brain, worker, PostgreSQL and Valkey.

``python -m bench.fleet_load [--agents N] [--seconds S] [--kills K]``: each agent is a coroutine
with a connection of its own for beats and another for its long poll; some hold replicas, and of
these ``K`` die in the middle. Each 8,000 agents have a process for themselves, and a brain.
Printed: how long a beat's answer takes, the statements that beats cost the database, who was called
dead and was not, how soon a lost node is seen and its replica placed elsewhere. The exit status is
1 when a law was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import asyncpg
import psutil
import uvloop
from rich.progress import Progress
from sqlalchemy import text

from bench.agents import Address
from bench.crowd import Crowd, Terms
from bench.fleet_rows import add_nodes, system_ctx
from brain import migrate
from brain.deployments.service import Wanted, create
from brain.deployments.wishes import Wishes
from brain.fleet import session_secret
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx
from catalog import load_catalog
from cli.embedded import Postgres, Valkey
from cli.embedded.child import die_with_parent
from cli.supervisor.preflight import raise_open_files
from kernel.clock import NS
from kernel.ids import DeploymentId, NodeId
from tests.support.wait import free_port, until

MODEL = "ganglion/stand-in"
GPUS = 8
CROWD = 8000
LOOKS_PER_SECOND = 4
BEAT_SECONDS = 10
READY_SECONDS_MAX = 120
AFTER_KILL_SECONDS = 60  # the last ones to die are watched so long
LOST_SECONDS_MAX = 25.0
PLACED_SECONDS_MAX = 30.0
UPDATES_PER_SECOND_MAX = 2.0
LOG_CHARACTERS = 4000  # of each process that are shown when a run comes to nothing


@dataclass
class Death:
    """One node that was killed; times in seconds since its last beat was answered."""

    node_id: NodeId
    deployment_id: DeploymentId
    last_beat_ns: int
    seen_s: float | None = None
    placed_s: float | None = None


@dataclass
class Outcome:
    """What one run showed."""

    beats: int = 0
    refused: int = 0
    latencies: list[float] = field(default_factory=list)
    updates_per_s: float = 0.0
    brain_cpu_us: float = 0.0
    falsely_dead: set[str] = field(default_factory=set)
    deaths: list[Death] = field(default_factory=list)

    def lines(self) -> list[str]:
        seen = [d.seen_s for d in self.deaths if d.seen_s is not None]
        placed = [d.placed_s for d in self.deaths if d.placed_s is not None]
        return [
            f"beats={self.beats} refused={self.refused}",
            f"beat_ms p50={share(self.latencies, 50) * 1e3:.2f}"
            f" p99={share(self.latencies, 99) * 1e3:.2f} max={max(self.latencies) * 1e3:.1f}",
            f"brain_cpu_us_per_beat={self.brain_cpu_us:.0f}",
            f"beat_updates_per_s={self.updates_per_s:.2f} (bar {UPDATES_PER_SECOND_MAX:g})",
            f"falsely_dead={len(self.falsely_dead)}",
            f"killed={len(self.deaths)} lost_seen_s max={share(seen, 100):.1f}"
            f" (bar {LOST_SECONDS_MAX:g}) replaced_s p95={share(placed, 95):.1f}"
            f" (bar {PLACED_SECONDS_MAX:g}) unseen={len(self.deaths) - len(seen)}"
            f" unplaced={len(self.deaths) - len(placed)}",
        ]

    def wrong(self) -> bool:
        seen = [d.seen_s for d in self.deaths if d.seen_s is not None]
        placed = [d.placed_s for d in self.deaths if d.placed_s is not None]
        return bool(
            self.falsely_dead
            or self.refused
            or self.updates_per_s > UPDATES_PER_SECOND_MAX
            or min(len(seen), len(placed)) < len(self.deaths)
            or share(seen, 100) > LOST_SECONDS_MAX
            or share(placed, 95) > PLACED_SECONDS_MAX
        )


def share(values: list[float], percent: int) -> float:
    """The nearest-rank percentile; NaN of nothing."""
    if not values:
        return float("nan")
    ranked = sorted(values)
    return ranked[max(0, -(-len(ranked) * percent // 100) - 1)]


@dataclass(frozen=True)
class Place:
    """The product around the agents."""

    ctx: Ctx
    brains: list[psutil.Process]
    crowds: list[Crowd]
    of: dict[NodeId, Crowd]


@asynccontextmanager
async def place(count: int, chance: Random) -> AsyncIterator[Place]:
    """Database, cache, brain and worker as in production, and ``count`` nodes with agents."""
    home = Path(tempfile.mkdtemp(prefix="ganglion-load-"))
    statistics = {"shared_preload_libraries": "pg_stat_statements"}
    postgres, valkey = Postgres(home, settings=statistics), Valkey(home)
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        await postgres.start()
        stack.push_async_callback(postgres.stop)
        await valkey.start()
        stack.push_async_callback(valkey.stop)
        url = await _database(postgres)
        ctx = system_ctx(url)
        stack.push_async_callback(ctx.db.close)
        nodes = await add_nodes(ctx, count, gpus=GPUS)
        key = secrets.token_bytes(32)
        parts = [nodes[first : first + CROWD] for first in range(0, count, CROWD)]
        ports = [free_port() for _ in parts]
        own = _environment(url, valkey.url(0), key)
        brains = [
            await _spawn(stack, ["brain.app"], {**own, "BRAIN_PORT": str(port)}, home)
            for port in ports
        ]
        beat = ["-B", "-P", "threads", "--concurrency", "4", "--loglevel", "WARNING"]
        await _spawn(stack, ["celery", "-A", "brain.worker", "worker", *beat], own, home)
        crowds = []
        for part, port in zip(parts, ports, strict=True):
            await until(Address(port, BEAT_SECONDS, ctx.clock).listens, 60)
            crowd = Crowd(_terms(part, port, key, chance))
            stack.push_async_callback(crowd.end)
            await crowd.start()
            crowds.append(crowd)
        of = {node: crowd for part, crowd in zip(parts, crowds, strict=True) for node in part}
        try:
            yield Place(ctx, [psutil.Process(pid) for pid in brains], crowds, of)
        except AssertionError:
            _show_logs(home)
            raise


def _show_logs(home: Path) -> None:
    for log in sorted(home.glob("*.log")):
        print(f"{log.name}:\n{log.read_text()[-LOG_CHARACTERS:]}", file=sys.stderr)


def _terms(nodes: list[NodeId], port: int, key: bytes, chance: Random) -> Terms:
    names = [str(node) for node in nodes]
    secret = session_secret(key).hex()
    return Terms(port, BEAT_SECONDS, secret, GPUS, chance.randrange(1 << 32), names)


async def _database(postgres: Postgres) -> str:
    connection = await asyncpg.connect(postgres.url("postgres"))
    await connection.execute("CREATE DATABASE load")
    await connection.close()
    url = postgres.url("load")
    await migrate.upgrade(url)
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE EXTENSION pg_stat_statements")
    await connection.close()
    return url


def _environment(url: str, redis_url: str, key: bytes) -> dict[str, str]:
    return {
        **os.environ,
        "DATABASE_URL": url,
        "REDIS_URL": redis_url,
        "JWT_SECRET_KEY": secrets.token_urlsafe(64),
        "MASTER_KEY": key.hex(),
        "GATEWAY_TOKEN": secrets.token_hex(32),
        "INSTALLATION_ID": "load",
        "BEAT_SECONDS": str(BEAT_SECONDS),
    }


async def _spawn(stack: AsyncExitStack, module: list[str], own: dict[str, str], home: Path) -> int:
    with (home / f"{module[0]}-{own.get('BRAIN_PORT', '')}.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *module,
            env=own,
            stdout=log,
            stderr=log,
            preexec_fn=die_with_parent(),
        )

    async def end() -> None:
        if process.returncode is None:
            process.terminate()
        await process.wait()

    stack.push_async_callback(end)
    return process.pid


async def run(count: int, seconds: int, kills: int, seed: int) -> Outcome:
    """One whole run: settle, measure, kill, look, and count."""
    chance, found = Random(seed), Outcome()
    async with place(count, chance) as here:
        await until(lambda: _all_beat(here), 60 + count / 20, every=0.5)
        holders = await _deploy(here, kills)
        for crowd in here.crowds:
            await crowd.begin()
        cpu = _cpu(here)
        updates, began_ns = await _updates(here.ctx), here.ctx.clock.monotonic_ns()
        kills = min(kills, len(holders))
        pause = max(0, seconds - AFTER_KILL_SECONDS) / max(1, kills)
        with Progress(transient=True) as progress:
            bar = progress.add_task(f"{count} agents", total=seconds)
            for second in range(seconds):
                while len(found.deaths) < min(kills, int(second / pause) if pause else kills):
                    node, deployment_id = holders[len(found.deaths)]
                    found.deaths.append(Death(node, deployment_id, await here.of[node].kill(node)))
                for _ in range(LOOKS_PER_SECOND):
                    await here.ctx.clock.sleep(1 / LOOKS_PER_SECOND)
                    await _look(here, found)
                progress.update(bar, advance=1)
        elapsed_s = (here.ctx.clock.monotonic_ns() - began_ns) / NS
        used_s = _cpu(here) - cpu
        for crowd in here.crowds:
            beats, refused, latencies = await crowd.counted()
            found.beats, found.refused = found.beats + beats, found.refused + refused
            found.latencies += latencies
        found.brain_cpu_us = used_s / max(1, found.beats) * 1e6
        found.updates_per_s = (await _updates(here.ctx) - updates) / elapsed_s
    return found


async def _all_beat(here: Place) -> bool:
    return all([await crowd.all_beat() for crowd in here.crowds])


async def _deploy(here: Place, count: int) -> list[tuple[NodeId, DeploymentId]]:
    """So many deployments of one replica each, ready; where each stands."""
    catalog, made = load_catalog(), []
    async with here.ctx.db.begin() as tx:
        regions = "UPDATE node SET region = 'r' || (abs(hashtext(node_id)) % :count)"
        await tx.execute(text(regions), {"count": max(1, count)})
    for number in range(count):
        async with here.ctx.db.begin() as tx:
            place = Wishes(regions=(f"r{number}",))  # so that no node holds two of them
            wanted = Wanted(model=MODEL, name=f"load-{number}", pool=True, wishes=place)
            made.append(await create(tx, here.ctx, catalog, PLATFORM_ACCOUNT, wanted))
    ids = [whole.deployment.deployment_id for whole in made]
    rows: list[tuple[NodeId, DeploymentId]] = []

    async def ready() -> bool:
        async with here.ctx.db.begin() as tx:
            found = await tx.execute(
                text("SELECT node_id, deployment_id FROM replica WHERE state = 'ready'")
            )
            rows[:] = [(NodeId(row.node_id), DeploymentId(row.deployment_id)) for row in found]
        return len(rows) == len(ids)

    await until(ready, READY_SECONDS_MAX, every=0.5)
    return list(dict(rows).items())  # one a node


async def _look(here: Place, found: Outcome) -> None:
    now_ns = here.ctx.clock.now_ns()
    async with here.ctx.db.begin() as tx:
        rows = await tx.execute(
            text("SELECT node_id FROM fleet_node WHERE silent_since_ns IS NOT NULL")
        )
        silent = {row.node_id for row in rows}
        rows = await tx.execute(
            text(
                "SELECT deployment_id, max(claimed_ns) AS at, max(node_id) AS node"
                " FROM replica WHERE claimed_ns IS NOT NULL AND ended_ns IS NULL"
                " GROUP BY deployment_id"
            )
        )
        placed = {row.deployment_id: row.at for row in rows}
    dead = {death.node_id for death in found.deaths}
    found.falsely_dead |= silent - dead
    for death in found.deaths:
        if death.seen_s is None and death.node_id in silent:
            death.seen_s = (now_ns - death.last_beat_ns) / NS
        at_ns = placed.get(death.deployment_id, 0)
        if death.placed_s is None and at_ns > death.last_beat_ns:
            death.placed_s = (at_ns - death.last_beat_ns) / NS


def _cpu(here: Place) -> float:
    """Seconds that the brains took."""
    times = [brain.cpu_times() for brain in here.brains]
    return float(sum(one.user + one.system for one in times))


async def _updates(ctx: Ctx) -> int:
    async with ctx.db.begin() as tx:
        found = await tx.scalar(
            text("SELECT sum(calls) FROM pg_stat_statements WHERE query LIKE 'UPDATE node_beat%'")
        )
        return int(found or 0)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fleet_load", description=__doc__)
    parser.add_argument("--agents", type=int, default=5000)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--kills", type=int, default=40, help="nodes that die while they work")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    raise_open_files()
    print(f"agents={asked.agents} seconds={asked.seconds} seed={asked.seed}", flush=True)
    found = uvloop.run(run(asked.agents, asked.seconds, asked.kills, asked.seed))
    print("\n".join(found.lines()))
    return 1 if found.wrong() else 0


if __name__ == "__main__":
    sys.exit(main())
