"""How soon a worker sees that a client hung up: each route, all its stages, under load.

Meanwhile the same gateway serves 64 streams. Times are from the client's hang-up until the
worker's connection is gone, both on one clock; each figure is of all stages of a route.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from bench.figure import Figure
from bench.rig import BUILT, KEY, LOAD_CORE, SERVER_CORE, CannotMeasure, build, free_port, start
from kernel.wire import encode
from tests.support.aborts import POSTS, SOCKETS, Leaver, Witness, stages, tables, witness
from tests.support.gateway import deployment_row, key_row, replica_row

PATHS = (*POSTS, *SOCKETS)
EACH = 100  # hang-ups of each stage
AT_ONCE = 4
STREAMS, CHUNKS, INTERVAL_US = "64", "100", "20000"
LOAD_SECONDS = "600"  # it is ended sooner
LOADED = 5  # the number of the deployment that is under load


def name_of(path: str) -> str:
    """The figure of a route."""
    return "abort_p99_ms_" + path.strip("/").removeprefix("v1/").replace("/", "_")


NAMES = tuple(name_of(path) for path in PATHS)


async def figures(_database_url: str, _valkey_url: str) -> list[Figure]:
    try:
        build("load")
        mock = str(build("mock_worker"))
    except CannotMeasure as missing:
        return [Figure(NAMES[0], None, "", str(missing))]
    async with witness() as worker, _gateway(worker, mock) as port, _load(port):
        leaver, made = Leaver(port, worker), []
        for path in PATHS:
            took = sorted(
                [ms for stage in stages(path) for ms in await _leave(leaver, path, stage)]
            )
            made.append(Figure(name_of(path), took[-(-len(took) * 99 // 100) - 1], "ms"))
        return [*made, Figure("abort_p99_ms_worst", max(one.value or 0 for one in made), "ms")]


async def _leave(leaver: Leaver, path: str, stage: str) -> list[float]:
    """Milliseconds of so many hang-ups, a few at a time."""
    found: list[float] = []

    async def some() -> None:
        for _ in range(EACH // AT_ONCE):
            found.append(await leaver.leave(path, stage) / 1e6)

    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return found


@asynccontextmanager
async def _gateway(worker: Witness, mock: str) -> AsyncIterator[int]:
    """The port of one that serves the witness and a worker that streams."""
    home = Path(tempfile.mkdtemp(prefix="ganglion-bench-aborts-"))
    port, busy, file = free_port(), free_port(), home / "snapshot.json"
    known = tables(worker.port)
    known.keys.append(key_row(KEY))
    known.deployments.append(deployment_row("m", LOADED))
    known.replicas.append(replica_row(busy, LOADED, LOADED))
    file.write_bytes(encode(known))
    command = [sys.executable, "-m", "inference.app", "--snapshot", str(file), "--port", str(port)]
    async with AsyncExitStack() as stack:
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        streams = [mock, str(busy), CHUNKS, INTERVAL_US]
        stack.callback((await start("mock_worker", streams, busy, core=LOAD_CORE)).stop)
        own = {"GATEWAY_SPOOL_DIR": str(home / "spool")}
        stack.callback((await start("gateway", command, port, core=SERVER_CORE, env=own)).stop)
        yield port


@asynccontextmanager
async def _load(port: int) -> AsyncIterator[None]:
    command = ["taskset", "-c", str(LOAD_CORE), str(BUILT / "load"), str(port), STREAMS]
    load = await asyncio.create_subprocess_exec(
        *command, LOAD_SECONDS, KEY, "stream", stdout=asyncio.subprocess.DEVNULL
    )
    try:
        yield
    finally:
        load.kill()
        await load.wait()
