"""The gateway's process: ``python -m inference.app [--snapshot FILE] [--host H] [--port P]``."""

from __future__ import annotations

import argparse
import asyncio
import gc
import signal
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path

import structlog
import uvloop

from inference.brain import Brain
from inference.cards import Cards
from inference.changes import Follower
from inference.gateway import SWEEP_SECONDS, Gateway
from inference.money import Slicer
from inference.pages import Pages
from inference.process import load, log_json, serve
from inference.proxy import ClientConnection
from inference.settings import Settings
from inference.shipper import Shipper
from inference.snapshot import check
from inference.spool import find_remains, sync
from kernel.clock import Clock, SystemClock
from kernel.errors import GanglionError
from kernel.ids import BootId, Ids, SystemIds
from kernel.wire import decode
from kernel.wire.gateway import Snapshot

VERSION = "0.1.0"
BACKLOG = 4096
SYNC_SECONDS = 0.5
GC_THRESHOLD = 20_000  # requests leave no cycles behind: looking for them often is waste


class Service:
    """The gateway with all that runs beside it. ``serve`` returns when it has stopped cleanly."""

    def __init__(
        self, settings: Settings, clock: Clock, ids: Ids, snapshot_file: Path | None = None
    ) -> None:
        self.settings = settings
        self._clock = clock
        self._ids = ids
        self._snapshot_file = snapshot_file
        self._log = structlog.get_logger("inference")
        alone = snapshot_file is not None
        self.gateway = Gateway(settings, clock, ids, ids.new(BootId), alone=alone)
        self._pages = Pages(self.gateway, Cards())
        self._tasks: list[asyncio.Task[None]] = []
        self._shipper: Shipper | None = None
        self._stop = asyncio.Event()

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
        self._start(self._sweep())
        self._start(self._sync())
        server = await loop.create_server(
            lambda: ClientConnection(self.gateway, self._pages),
            self.settings.gateway_host,
            self.settings.gateway_port,
            backlog=BACKLOG,
            reuse_port=self.settings.gateway_reuse_port or None,
        )
        port = server.sockets[0].getsockname()[1]
        self._log.info("listening", host=self.settings.gateway_host, port=port)
        gc.collect()
        gc.freeze()
        gc.set_threshold(GC_THRESHOLD)
        try:
            await self._stop.wait()
        finally:
            server.close()
            await self._finish()

    def _join_brain(self) -> None:
        settings, gateway = self.settings, self.gateway
        brain = Brain(settings.brain_url, settings.gateway_token)
        slicer = Slicer(gateway, brain, self._clock, self._ids)
        gateway.funding = slicer
        remains = find_remains(settings.gateway_spool_dir, own=gateway.boot_id)
        follower = Follower(gateway, brain, self._clock, version=VERSION)
        shipper = Shipper(gateway, brain, slicer, follower.greet, self._clock, remains)
        self._shipper = shipper
        self._start(follower.run())
        self._start(shipper.run())

    async def _finish(self) -> None:
        """Let requests end, cut those that do not, ship what was counted."""
        gateway, clock = self.gateway, self._clock
        gateway.draining = True
        gateway.link_listener.drain()
        for connection in list(gateway.connections):
            connection.shut()
        deadline_ns = clock.monotonic_ns() + round(self.settings.gateway_drain_seconds * 1e9)
        while gateway.exchanges and clock.monotonic_ns() < deadline_ns:
            await clock.sleep(0.02)
        for exchange in list(gateway.exchanges):
            exchange.shut_down()
        await clock.sleep(0)
        await gateway.link_listener.close()
        shipped = await self._flush()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        gateway.spool.close(empty=shipped)
        self._log.info("stopped", usage_shipped=shipped)

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

    def _start(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.get_running_loop().create_task(work))


def read_snapshot(file: Path) -> Snapshot:
    """The snapshot in a file. Raises ``OSError``, or ``BadInput`` that names what is wrong."""
    snapshot = decode(file.read_bytes(), Snapshot)
    check(snapshot)
    return snapshot


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT. Returns the exit status."""
    parser = argparse.ArgumentParser(prog="ganglion gateway", description=__doc__)
    parser.add_argument("--snapshot", type=Path, help="run alone from this file, with no brain")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--port", type=int, help="port to listen on")
    given = parser.parse_args(arguments)
    settings = load(Settings, gateway_host=given.host, gateway_port=given.port)
    log_json()
    if given.snapshot is None and not settings.brain_url:
        sys.stderr.write("Set BRAIN_URL, or give --snapshot FILE to run without a brain.\n")
        return 2
    try:
        uvloop.run(_run(settings, given.snapshot))
    except (OSError, GanglionError) as error:
        sys.stderr.write(f"The gateway cannot start: {error}\n")
        return 1
    return 0


async def _run(settings: Settings, snapshot_file: Path | None) -> None:
    clock = SystemClock()
    service = Service(settings, clock, SystemIds(clock), snapshot_file)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, service.reload)
    await serve(service)


if __name__ == "__main__":
    sys.exit(main())
