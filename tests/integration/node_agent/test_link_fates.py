"""What a request costs that its client left before the worker said a byte: its node knows."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import cast

import pytest

from inference.meter import UNPROVEN_NS
from kernel.wire.gateway import Segment, SegmentEnd
from node_agent.link_dial import Dialler
from node_agent.links import Links
from tests.support.certificates import certificate_in
from tests.support.gateway import KEY, Gateway, StartGateway
from tests.support.links import link_address, linked, linked_lease, node_links, tables_of
from tests.support.raw_http import connect, request
from tests.support.scripted_worker import WAIT, scripted_worker
from tests.support.wait import stretch, until

ASK = request(b'{"model":"m","stream":true}', key=KEY)
LEASE = linked_lease([], port=8000)
LONG_SECONDS = 0.3  # so much is charged where nobody knows how far the worker was
TRIES_MAX = 5  # on a busy machine the node's word may be later than the gateway waits for it
# A worker that says when it has read a request, and does its last deed when that one is taken back.
READS = """
import os, signal, socket
door = socket.create_server(("127.0.0.1", 0))
print(door.getsockname()[1], flush=True)
while True:
    its, _ = door.accept()
    if its.recv(65536):
        print("read", flush=True)
        its.recv(1)
        """
DIES = "os.kill(os.getpid(), signal.SIGKILL)"


class Deaf(asyncio.Protocol):
    """A worker that was given requests: it reads none of them, or reads and never hangs up."""

    def __init__(self, *, reads: bool) -> None:
        self.reads = reads
        self.came = False
        self.transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        if not self.reads:
            self.transport.pause_reading()
            self.came = True

    def data_received(self, received: bytes) -> None:
        self.came = True

    def eof_received(self) -> bool:
        return True

    def die(self) -> None:
        """As when it is killed: what it has not read breaks the connection."""
        assert self.transport is not None, "it was connected"
        self.transport.abort()


@asynccontextmanager
async def deaf(*, reads: bool) -> AsyncIterator[tuple[int, Deaf]]:
    one = Deaf(reads=reads)
    server = await asyncio.get_running_loop().create_server(lambda: one, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1], one
    finally:
        server.close()
        if one.transport is not None:
            one.transport.abort()


def gateway_of(start: StartGateway, **settings: object) -> Gateway:
    return start(tables_of(linked(LEASE, upstream_model="")), gateway_link_port=0, **settings)


def linked_to(
    gateway: Gateway, port: int, dialler: Dialler | None = None
) -> AbstractAsyncContextManager[Links]:
    return node_links([link_address(gateway)], (LEASE, port), dialler=dialler)


async def leave(gateway: Gateway, came: Callable[[], bool], seconds: float = 0.0) -> None:
    """Ask, wait until the worker has it and so long, and hang up."""
    await until(lambda: gateway.metric("ganglion_gateway_links_idle") >= 4, 20)
    async with connect(gateway.port) as raw:
        await raw.send(ASK)
        await until(came)
        await stretch(seconds)
    await until(lambda: gateway.metric("ganglion_gateway_client_gone") == 1)


async def counted(gateway: Gateway) -> int:
    """Nanoseconds of the one request that was left."""
    found: list[Segment] = await until(gateway.segments)
    (piece,) = found
    assert (piece.end, piece.status) == (SegmentEnd.ABORTED, 499)
    return piece.end_ns - piece.start_ns


async def test_a_worker_that_had_taken_it_is_paid_for_a_moment(start_gateway: StartGateway) -> None:
    gateway = gateway_of(start_gateway)
    async with scripted_worker([WAIT]) as worker, linked_to(gateway, worker.port):
        await leave(gateway, lambda: len(worker.requests) == 1)
        assert await counted(gateway) > 0


async def test_over_tls_as_well(start_gateway: StartGateway, tmp_path: Path) -> None:
    tls = certificate_in(tmp_path)
    files = {"certificate": tls.certificate, "certificate_key": tls.key}
    gateway = gateway_of(start_gateway, **{f"gateway_link_{k}": v for k, v in files.items()})
    async with (
        scripted_worker([WAIT]) as worker,
        linked_to(gateway, worker.port, Dialler(tls.trusted)),
    ):
        await leave(gateway, lambda: len(worker.requests) == 1)
        assert await counted(gateway) > 0


async def test_a_worker_that_died_with_it_unread_is_not(start_gateway: StartGateway) -> None:
    found = []
    while len(found) < TRIES_MAX and 0 not in found:
        gateway = gateway_of(start_gateway)
        async with deaf(reads=False) as (port, worker), linked_to(gateway, port):
            await leave(gateway, lambda worker=worker: worker.came, LONG_SECONDS)
            worker.die()
            found.append(await counted(gateway))
    assert found[-1] == 0, "the node's word never came, or always too late"


@pytest.mark.parametrize(("last_deed", "counts"), [("its.close()", True), (DIES, False)])
async def test_a_worker_that_died_having_read_it_is_not(
    start_gateway: StartGateway, last_deed: str, counts: bool
) -> None:
    """The kernel closes for it as a worker that lives does."""
    found: list[bool] = []
    while len(found) < TRIES_MAX and counts not in found:
        gateway = gateway_of(start_gateway)
        with reader(last_deed) as worker:
            assert worker.stdout is not None
            port = int(await asyncio.to_thread(worker.stdout.readline))
            async with linked_to(gateway, port):
                came = asyncio.create_task(asyncio.to_thread(worker.stdout.readline))
                await leave(gateway, came.done, LONG_SECONDS)
                found.append(await counted(gateway) > 0)
    assert found[-1] == counts, "the node's word never came, or always too late"


@contextmanager
def reader(last_deed: str) -> Iterator[subprocess.Popen[bytes]]:
    worker = subprocess.Popen([sys.executable, "-c", READS + last_deed], stdout=subprocess.PIPE)
    try:
        yield worker
    finally:
        worker.kill()
        worker.wait()


@pytest.mark.parametrize(("seconds", "counts"), [(0.0, False), (LONG_SECONDS, True)])
async def test_where_nobody_knows_a_moment_is_not_enough(
    start_gateway: StartGateway, seconds: float, counts: bool
) -> None:
    """It took the request, perhaps, and does not hang up: the agent says nothing."""
    for _ in range(TRIES_MAX):
        gateway = gateway_of(start_gateway)
        async with deaf(reads=True) as (port, worker), linked_to(gateway, port):
            await leave(gateway, lambda: worker.came, seconds)
            found = await counted(gateway)
        if (found > 0) == counts:
            return
        assert found >= UNPROVEN_NS, "on a busy machine a moment may be longer; then try again"
    raise AssertionError(f"{found} ns were counted")


async def test_an_agent_that_dies_says_nothing(start_gateway: StartGateway) -> None:
    gateway = gateway_of(start_gateway)
    async with deaf(reads=False) as (port, worker):
        async with linked_to(gateway, port):
            await leave(gateway, lambda: worker.came, LONG_SECONDS)
        assert await counted(gateway) > 0
