"""``ganglion stand-in runpod|vast|lambda``: one emulated cloud on a port, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import importlib
import json
import os
import random
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from urllib.parse import parse_qs, unquote

from kernel.clock import SystemClock
from standins.clouds.boot import Processes
from standins.clouds.faults import Fault, read_faults
from standins.clouds.shell import BODY_BYTES_MAX, SERVER, Reply, Request, Shell
from standins.clouds.stock import Stock, read_stocks
from standins.worker.server import Connection, Cut, Exchange

# A cloud is a package with `make_world`, `make_app` and `pointers`.
CLOUDS = {
    "runpod": "standins.clouds.runpod",
    "vast": "standins.clouds.vast",
    "lambda": "standins.clouds.lambda_",
}
ADVANCE_SECONDS = 0.05
CLOSE_SECONDS_MAX = 2.0
BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Options:
    """How one emulated cloud is started."""

    cloud: str
    port: int
    host: str = "127.0.0.1"
    key: str = "stand-in"
    faults: tuple[Fault, ...] = ()
    stocks: tuple[Stock, ...] | None = None
    seed: int = 0
    home: str = ""


def read_options(arguments: Sequence[str]) -> Options:
    """Read the command line; argparse prints what is wrong and exits with 2."""
    parser = argparse.ArgumentParser(
        prog="ganglion stand-in",
        description="An emulated cloud: its API, and machines that really run their start script.",
    )
    parser.add_argument("cloud", choices=sorted(CLOUDS))
    parser.add_argument("--port", type=int, required=True, help="0 picks a free one")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--key", default="stand-in", help="the API key that it takes")
    parser.add_argument("--faults", default="", metavar="JSON", help="see docs/stand-ins.md")
    parser.add_argument("--stock", default="", metavar="FILE", help="JSON: what can be rented")
    parser.add_argument("--seed", type=int, default=0, help="of its chance; 0: another each time")
    parser.add_argument("--home", default="", metavar="FOLDER", help="the machines' disks")
    given = vars(parser.parse_args(list(arguments)))
    try:
        text, stock = given.pop("faults"), given.pop("stock")
        faults = read_faults(json.loads(text)) if text else ()
        stocks = read_stocks(json.loads(Path(stock).read_text())) if stock else None
    except (OSError, ValueError) as wrong:
        parser.error(f"--faults or --stock: {wrong}")
    return Options(**given, faults=faults, stocks=stocks)


class Front:
    """Serves one emulated cloud over sockets; waits, cuts and resets as its replies say."""

    def __init__(self, shell: Shell) -> None:
        self._shell = shell
        self._clock = shell.world.clock
        self._connections: set[asyncio.Task[None]] = set()

    async def connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "asyncio runs a connection in a task"
        self._connections.add(task)
        try:
            await Connection(reader, writer, self._exchange, BODY_BYTES_MAX).serve()
        finally:
            self._connections.discard(task)

    async def close(self) -> None:
        for task in self._connections:
            task.cancel()
        if self._connections:
            await asyncio.wait(self._connections, timeout=CLOSE_SECONDS_MAX)

    async def _exchange(self, exchange: Exchange) -> None:
        asked = exchange.request
        query = parse_qs(asked.query, keep_blank_values=True)
        request = Request(asked.method, unquote(asked.path), query, asked.headers, asked.body)
        try:
            reply = self._shell.respond(request)
        except Exception as wrong:
            _say(event="crashed", path=asked.path[:200], error=repr(wrong)[:500])
            raise Cut from wrong
        if reply.wait_seconds:
            await self._clock.sleep(reply.wait_seconds)
        await _put(exchange, reply)


async def _put(exchange: Exchange, reply: Reply) -> None:
    answer = reply.answer
    if answer is None:
        raise Cut
    body = answer.body
    headers = (*answer.headers, ("content-length", str(len(body))))
    await exchange.begin(answer.status, answer.content_type, headers)
    if reply.half:
        await exchange.send(body[: len(body) // 2])
        raise Cut
    await exchange.send(body)
    await exchange.end()


async def serve(options: Options, environment: Mapping[str, str]) -> int:
    """Serve until SIGTERM or SIGINT, then take every machine down; one JSON line when it listens,
    which also says how clients are pointed here. Returns the exit code."""
    asked_to_stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, asked_to_stop.set)
    cloud = importlib.import_module(CLOUDS[options.cloud])
    try:
        door = socket.create_server((options.host, options.port), backlog=BACKLOG)
    except OSError as wrong:
        _say(event="failed", reason=f"cannot listen on {options.host}:{options.port}: {wrong}")
        return 1
    with _home(options) as home:
        launcher = Processes(home, environment)
        try:
            await _serve(options, cloud, launcher, door, asked_to_stop)
        finally:
            await asyncio.to_thread(launcher.close)
    _say(event="stopped")
    return 0


async def _serve(
    options: Options,
    cloud: ModuleType,
    launcher: Processes,
    door: socket.socket,
    stop: asyncio.Event,
) -> None:
    clock = SystemClock()
    chance = random.Random(options.seed or None)
    world = cloud.make_world(clock, chance, launcher, stocks=options.stocks, faults=options.faults)
    front = Front(cloud.make_app(world, api_key=options.key).shell)
    server = await asyncio.start_server(front.connected, sock=door, backlog=BACKLOG)
    port = door.getsockname()[1]
    url = f"http://{options.host}:{port}"
    _say(
        event="ready",
        stand_in=options.cloud,
        host=options.host,
        port=port,
        server=SERVER,
        point=cloud.pointers(url, options.key),
    )
    while not stop.is_set():
        world.advance()
        waiting = asyncio.ensure_future(stop.wait())
        await asyncio.wait({waiting}, timeout=ADVANCE_SECONDS)
        waiting.cancel()
    _say(event="stopping", machines=len(world.alive()))
    server.close()
    await front.close()


@contextmanager
def _home(options: Options) -> Iterator[Path]:
    if options.home:
        yield Path(options.home).resolve()
        return
    with tempfile.TemporaryDirectory(prefix=f"{options.cloud}-", ignore_cleanup_errors=True) as own:
        yield Path(own)


def main(arguments: Sequence[str] | None = None) -> int:
    """The entry of ``python -m standins.clouds`` and of the ``ganglion stand-in`` command."""
    options = read_options(sys.argv[1:] if arguments is None else arguments)
    # Machines have as many made-up GPUs as were ordered, unless this machine has real ones.
    real = os.environ.get("SIMULATE_GPUS") == "0"
    return asyncio.run(serve(options, {"SIMULATE_GPUS": "0"} if real else {}))


def _say(**facts: object) -> None:
    sys.stdout.write(json.dumps(facts) + "\n")
    sys.stdout.flush()
