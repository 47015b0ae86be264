"""One process of the gateway: ``python -m inference.app [--snapshot FILE] [--port P]``."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import structlog
import uvloop

from inference.brain import Brain
from inference.cards import Cards
from inference.changes import Follower
from inference.door import BACKLOG, Given, listen, read_arguments
from inference.exchange import NEVER
from inference.gateway import SWEEP_SECONDS, Gateway
from inference.idempotency import BrainDesk
from inference.limits.asker import Asker
from inference.money import Slicer
from inference.pages import Pages
from inference.process import Parts, keep_heap, load, log_json, serve
from inference.proxy import ClientConnection
from inference.settings import Settings, read
from inference.shipper import Shipper
from inference.signals import Signals
from inference.snapshot import check
from inference.spool import find_remains, sync
from inference.traced import TracedConnection
from kernel.clock import NS, Clock, SystemClock
from kernel.errors import GanglionError
from kernel.ids import BootId, Ids, SystemIds
from kernel.wire import decode
from kernel.wire.gateway import Snapshot

VERSION = "0.1.0"
SYNC_SECONDS = 0.9
READY_POLL_SECONDS = 0.02
# Requests that were on their way on kept connections when the stop came are still answered.
LINGER_SECONDS = 1.0
GC_THRESHOLD = 20_000  # requests leave no cycles behind: looking for them often is waste


class Service:
    """The gateway with all that runs beside it. ``serve`` returns when it has stopped cleanly."""

    def __init__(self, settings: Settings, clock: Clock, ids: Ids, given: Given) -> None:
        self.settings = settings
        self._clock = clock
        self._ids = ids
        self._given = given
        self._snapshot_file = snapshot_file = given.snapshot
        self._log = structlog.get_logger("inference")
        alone = snapshot_file is not None
        self.gateway = Gateway(settings, clock, ids, ids.new(BootId), alone=alone)
        self._pages = Pages(self.gateway, Cards())
        self._asker: Asker | None = None
        self._shipper: Shipper | None = None
        self._stop = asyncio.Event()
        self.parts = Parts(self.stop)
        self._line: socket.socket | None = None

    def stop(self) -> None:
        """Finish what runs, then end ``serve``."""
        self._stop.set()

    def reload(self) -> None:
        """Read the snapshot file again; a file with a fault changes nothing."""
        if self._snapshot_file is None:
            return
        try:
            self.gateway.tables.replace(read_snapshot(self._snapshot_file))
            self._log.info("snapshot_loaded", file=str(self._snapshot_file))
        except (OSError, GanglionError) as error:
            self._log.error("snapshot_refused", reason=str(error))

    async def serve(self) -> None:
        loop = asyncio.get_running_loop()
        if self._snapshot_file is not None:
            self.gateway.tables.replace(read_snapshot(self._snapshot_file))
        if self.settings.takes_links:
            await self.gateway.link_listener.start()
        if self._snapshot_file is None:
            self._join_brain()
        self.parts.start(self._sweep())
        self.parts.start(self._sync())
        always = self.settings.gateway_trace_always
        connection = TracedConnection if always else ClientConnection
        servers = [
            await loop.create_server(
                lambda: connection(self.gateway, self._pages), sock=door, backlog=BACKLOG
            )
            for door in self._doors()
        ]
        port = servers[0].sockets[0].getsockname()[1]
        self._log.info("listening", host=self.settings.gateway_host, port=port)
        if self._given.line >= 0:
            self.parts.start(self._tell_parent(socket.socket(fileno=self._given.line)))
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        try:
            await self._stop.wait()
        finally:
            for server in servers:
                server.close()
            await self._finish()

    def _doors(self) -> list[socket.socket]:
        """Where clients come in; several processes inherit what their parent opened."""
        given, settings = self._given, self.settings
        if given.clients >= 0:
            return [socket.socket(fileno=fd) for fd in (given.clients, given.own) if fd >= 0]
        own = settings.gateway_own_port
        clients = listen(
            settings.gateway_host, settings.gateway_port, shared=settings.gateway_reuse_port
        )
        return [clients, listen("127.0.0.1", own)] if own else [clients]

    async def _tell_parent(self, line: socket.socket) -> None:
        """Say once that this process serves; where the parent is gone, finish and end."""
        line.setblocking(False)
        asyncio.get_running_loop().add_reader(line, self.stop)
        while not self.gateway.tables.loaded:
            await self._clock.sleep(READY_POLL_SECONDS)
        line.send(b"+")
        self._line = line  # open for as long as this process lives

    def _join_brain(self) -> None:
        settings, gateway = self.settings, self.gateway
        brain = Brain(settings.brain_url, settings.gateway_token)
        slicer = Slicer(gateway, brain, self._clock, self._ids)
        gateway.funding = slicer
        gateway.replays.desk = BrainDesk(brain)
        remains = find_remains(settings.gateway_spool_dir, own=gateway.boot_id)
        follower = Follower(gateway, brain, self._clock, version=VERSION)
        shipper = Shipper(gateway, brain, slicer, follower.greet, self._clock, remains)
        self._shipper = shipper
        self._asker = Asker(gateway.limits, brain, self._clock, gateway.boot_id)
        self.parts.start(self._asker.run())
        self.parts.start(follower.run())
        self.parts.start(shipper.run())
        signals = Signals(gateway, brain, self._clock)
        shipper.shipped = signals.counted
        self.parts.start(signals.run())

    async def _finish(self) -> None:
        """Let requests end, cut those that do not, ship what was counted."""
        gateway, clock = self.gateway, self._clock
        gateway.draining = True
        gateway.link_listener.drain()
        await self._linger()
        gateway.closing = True
        for connection in list(gateway.connections):
            # One without a deadline is being answered, or sends an upload: while the gateway
            # drains that is the last of its connection anyway.
            if connection.deadline_ns != NEVER:
                connection.shut()
        deadline_ns = clock.monotonic_ns() + round(self.settings.gateway_drain_seconds * NS)
        # Who speaks has no exchange yet: what is over has lost its connection too.
        while (gateway.exchanges or gateway.connections) and clock.monotonic_ns() < deadline_ns:
            await clock.sleep(READY_POLL_SECONDS)
        for exchange in list(gateway.exchanges):
            exchange.shut_down()
        await clock.sleep(0)
        for connection in list(gateway.connections):
            connection.shut()
        await gateway.link_listener.close()
        await gateway.replays.flush(self.settings.gateway_flush_seconds)
        if self._asker is not None:
            await self._asker.farewell()
        shipped = await self._flush()
        await self.parts.end()
        gateway.spool.close(empty=shipped)
        self._log.info("stopped", usage_shipped=shipped)

    async def _linger(self) -> None:
        """Until no connection is kept, or for a moment: each answer closes its own."""
        clock = self._clock
        most = min(LINGER_SECONDS, self.settings.gateway_drain_seconds)
        until_ns = clock.monotonic_ns() + round(most * NS)
        while self.gateway.connections and clock.monotonic_ns() < until_ns:
            await clock.sleep(READY_POLL_SECONDS)

    async def _flush(self) -> bool:
        """True when the brain has all that this process counted."""
        if self._shipper is None:
            return False
        try:
            async with asyncio.timeout(self.settings.gateway_flush_seconds):
                await self._shipper.ship()
                await self._shipper.farewell()
            return True
        except (GanglionError, TimeoutError) as error:
            self._log.warning("usage_left_in_spool", reason=str(error))
            return False

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            self.gateway.sweep()

    async def _sync(self) -> None:
        """Loss of power costs a second at most."""
        while True:
            await self._clock.sleep(SYNC_SECONDS)
            if written := self.gateway.spool.unsynced():
                await asyncio.to_thread(sync, written)


def read_snapshot(file: Path) -> Snapshot:
    """The snapshot in a file. Raises ``OSError``, or ``BadInput`` that names what is wrong."""
    snapshot = decode(file.read_bytes(), Snapshot)
    check(snapshot)
    return snapshot


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status."""
    given = read_arguments(arguments)
    return run(load(read, **given.settings()), given)


def run(settings: Settings, given: Given) -> int:
    """The same, with settings that were read already."""
    log_json()
    if given.snapshot is None and not settings.brain_url:
        sys.stderr.write("Set BRAIN_URL, or give --snapshot FILE to run without a brain.\n")
        return 2
    keep_heap()
    try:
        return uvloop.run(_run(settings, given))
    except (OSError, GanglionError) as error:
        sys.stderr.write(f"The gateway cannot start: {error}\n")
        return 1


async def _run(settings: Settings, given: Given) -> int:
    clock = SystemClock()
    service = Service(settings, clock, SystemIds(clock), given)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.reload)
    await serve(service)
    return 1 if service.parts.failed else 0


if __name__ == "__main__":
    sys.exit(main())
