"""Gateways in front of workers, and of ones that fail in each way: where a plan is walked."""

from __future__ import annotations

import asyncio
import itertools
import threading
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import httpx

from kernel.wire.gateway import AccountRow, Snapshot
from tests.contract.clients import plan
from tests.contract.clients.plan import Plan
from tests.support.gateway import (
    KEY,
    OWNER,
    Gateway,
    deployment_row,
    key_row,
    launch,
    replica_row,
)
from tests.support.scripted_worker import answer, scripted_worker
from tests.support.workers_routes import request

T = TypeVar("T")
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Coroutine[Any, Any, None]]
SECONDS_MAX = 30
BODY_BYTES_MAX = 100_000
POOR_ACCOUNT = "acct_" + "0" * 31 + "4"
KEYS = {
    plan.GOOD: KEY,
    plan.WRONG: "gk_" + "w" * 43,
    plan.POOR: "gk_" + "p" * 43,
    plan.NARROW: "gk_" + "n" * 43,
}
SPENT_KEYS = [f"gk_{number:043}" for number in range(12)]
# What tells the pieces of a stream's content.
PIECE = {
    b"/v1/chat/completions": b'"delta"',
    b"/v1/completions": b'"text"',
    b"/v1/responses": b"event: response.output_text.delta",
    b"/v1/messages": b"event: content_block_delta",
    b"/v1/audio/transcriptions": b'"delta"',
}
PIECES, BYTES = 3, 4_000


@dataclass(frozen=True)
class Served:
    """A worker, what it calls its model, and the routes that it serves."""

    url: str
    model: str
    routes: tuple[str, ...]

    @property
    def port(self) -> int:
        return urlsplit(self.url).port or 0

    @property
    def name(self) -> str:
        """Of its deployment."""
        return f"{plan.SERVED}-{self.model}"


@dataclass
class House:
    """``plan_for`` a client is what it walks here. ``impatient`` waits for a worker's first byte
    only shortly."""

    gateway: Gateway
    impatient: Gateway
    workers: tuple[Served, ...]
    _spent: Iterator[str] = field(default_factory=lambda: iter(SPENT_KEYS))

    def plan_for(self, client: str, routes: Iterable[str]) -> Plan:
        """On each of these routes that a worker here serves."""
        steps = [
            step
            for route in routes
            for worker in self.workers
            if route in worker.routes
            for step in plan.steps(client, route, worker.name)
        ]
        return self.plan_of(steps)

    def plan_of(self, steps: list[plan.Step], *, further: bool = True) -> Plan:
        return Plan(self.gateway.url, self.impatient.url, self.keys(), steps, further)

    def keys(self) -> dict[str, str]:
        """By what is the matter with them. Who walks has a key in debt of its own: two minutes
        later that is forgotten."""
        spent = next(self._spent)
        _spend(self.gateway, self.workers[0], spent)
        return {**KEYS, plan.SPENT: spent}


@contextmanager
def house(folder: Path, clients: Iterable[str], *workers: Served) -> Iterator[House]:
    """Everything up, in front of these workers."""
    with _loop() as call, ExitStack() as stack:
        backs = call(_open_backs(workers))
        stack.callback(lambda: call(backs.close()))
        rows = _tables(tuple(clients), workers, backs)
        patient = _launched(stack, folder / "patient", rows)
        impatient = _launched(stack, folder / "impatient", rows, gateway_first_byte_seconds_max=0.1)
        yield House(patient, impatient, workers)


@contextmanager
def _loop() -> Iterator[Callable[[Coroutine[Any, Any, T]], T]]:
    """An event loop in a thread: tests block in clients while its servers answer."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(SECONDS_MAX)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


@dataclass
class Backs:
    """Where requests end that must fail: ``cuts`` are by the port of the worker behind."""

    broken: int
    silent: int
    cuts: dict[int, int]
    stack: AsyncExitStack

    async def close(self) -> None:
        await self.stack.aclose()


async def _open_backs(workers: Iterable[Served]) -> Backs:
    stack = AsyncExitStack()
    broken = await stack.enter_async_context(scripted_worker([answer(b"{}", status=500)]))
    silent = await _served(stack, _pass_over)
    cuts = {}
    for worker in workers:
        wire = CuttingWire(worker)
        stack.callback(wire.close)
        cuts[worker.port] = await _served(stack, wire.serve)
    return Backs(broken.port, silent, cuts, stack)


async def _served(stack: AsyncExitStack, serve: Serve) -> int:
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    stack.callback(server.close)
    return int(server.sockets[0].getsockname()[1])


async def _pass_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Hears all and says nothing."""
    while await reader.read(1 << 16):
        pass
    writer.close()


def _tables(clients: tuple[str, ...], workers: Iterable[Served], backs: Backs) -> Snapshot:
    rows = _empty()

    def deploy(name: str, port: int, model: str) -> None:
        number = len(rows.deployments) + 1
        rows.deployments.append(deployment_row(name, number))
        rows.replicas.append(replica_row(port, number, number, upstream_model=model))

    for worker in workers:
        deploy(worker.name, worker.port, worker.model)
        ports = {"broken": backs.broken, "silent": backs.silent, "cut": backs.cuts[worker.port]}
        for client, route, (kind, port) in itertools.product(clients, worker.routes, ports.items()):
            deploy(plan.failing_model(kind, client, route), port, worker.model)
    return rows


def _empty() -> Snapshot:
    """All keys, and a deployment that has no replica."""
    return Snapshot(
        keys=[
            key_row(),
            key_row(KEYS[plan.POOR], POOR_ACCOUNT),
            key_row(KEYS[plan.NARROW], scopes=[]),
            *(key_row(one, tokens_per_minute=1) for one in SPENT_KEYS),
        ],
        accounts=[AccountRow(OWNER), AccountRow(POOR_ACCOUNT, stopped=True)],
        deployments=[deployment_row(plan.ABSENT, 1)],
        replicas=[],
    )


class CuttingWire:
    """Passes a worker's answers on, and breaks each off in the middle of its content."""

    def __init__(self, worker: Served) -> None:
        self._worker = worker
        self._open: set[asyncio.Task[None]] = set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a server runs it in a task"
        self._open.add(task)
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._worker.port)
        asking = None
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            if head.startswith(b"GET "):
                return  # a look at its models, on a connection that would be kept
            far_writer.write(head)
            asking = asyncio.create_task(_pump(reader, far_writer))
            await _pass_some(far_reader, writer, PIECE.get(head.split(b" ", 2)[1]))
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            if asking is not None:
                asking.cancel()
            self._open.discard(task)
            far_writer.transport.abort()
            writer.close()

    def close(self) -> None:
        for task in list(self._open):
            task.cancel()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while part := await reader.read(1 << 16):
        writer.write(part)
        await writer.drain()


async def _pass_some(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, piece: bytes | None
) -> None:
    """Up to the third piece of content; of what has no pieces, so many bytes."""
    passed = b""
    while part := await reader.read(128):
        writer.write(part)
        await writer.drain()
        passed += part
        if passed.count(piece) >= PIECES if piece else len(passed) >= BYTES:
            return


def _launched(stack: ExitStack, folder: Path, rows: Snapshot, **settings: Any) -> Gateway:
    limits = {
        "gateway_body_bytes_max": BODY_BYTES_MAX,
        "gateway_upload_bytes_max": BODY_BYTES_MAX,
    }
    gateway = launch(folder, rows, **limits, **settings)
    stack.callback(gateway.kill)
    return gateway


def _spend(gateway: Gateway, worker: Served, key: str) -> None:
    """A key with one token a minute is in debt after its first answer. Of a sound
    real vLLM tells tokens in a stream alone, and seconds in a plain answer."""
    route = worker.routes[0]
    path = plan.PATHS[route]
    asked: dict[str, Any] = {"json": {"model": worker.name, **plan.BODIES[route]}}
    told = httpx.post(
        f"{gateway.url}{path}",
        headers={"authorization": f"Bearer {key}"},
        timeout=SECONDS_MAX,
        **(request(path, worker.name, stream=True) if route in plan.SOUNDS else asked),
    )
    assert told.status_code == 200, told.text
