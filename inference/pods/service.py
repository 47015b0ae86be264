"""The front with all that runs beside it: the doors for people, the one for agents, the brain."""

from __future__ import annotations

import asyncio
import gc

import structlog

from inference.brain import Brain
from inference.link_listener import LinkListener, LinkTerms
from inference.pods import ssh
from inference.pods.follow import Follower
from inference.pods.front import SWEEP_SECONDS, Front
from inference.pods.proxy import ClientConnection
from inference.pods.settings import Settings
from inference.pods.table import Pods
from inference.process import Parts
from kernel.clock import NS, Clock
from kernel.errors import BadInput
from kernel.ids import BootId, Ids

BACKLOG = 1024
DRAIN_POLL_SECONDS = 0.05


class Service:
    """``serve`` returns when it has stopped cleanly, after ``stop``."""

    def __init__(self, settings: Settings, clock: Clock, ids: Ids) -> None:
        self._settings = settings
        self._clock = clock
        self._boot_id = str(ids.new(BootId))
        self.links = LinkListener(self._boot_id, terms(settings), clock)
        self.front = Front(settings, clock, Pods(), self.links)
        self.front.link_gauges = self.links.gauges
        self._stop = asyncio.Event()
        self.parts = Parts(self.stop)
        self._log = structlog.get_logger("inference.pods")

    def stop(self) -> None:
        """Let what runs come to its end, then end ``serve``."""
        self._stop.set()

    async def serve(self) -> None:
        """Raises ``OSError`` when a port or the SSH host key cannot be had."""
        settings, front = self._settings, self.front
        loop = asyncio.get_running_loop()
        await self.links.start()
        door = await loop.create_server(
            lambda: ClientConnection(front),
            settings.pod_front_host,
            settings.pod_front_port,
            backlog=BACKLOG,
        )
        shells = await ssh.listen(front)
        brain = Brain(settings.brain_url, settings.gateway_token)
        self.parts.start(Follower(front, brain, self.links, self._boot_id).run())
        self.parts.start(self._sweep())
        self._log.info(
            "listening",
            host=settings.pod_front_host,
            port=door.sockets[0].getsockname()[1],
            ssh_port=shells.get_port(),
            domain=settings.pod_domain,
        )
        gc.collect()
        gc.freeze()
        try:
            await self._stop.wait()
        finally:
            door.close()
            shells.close()
            await self._finish()

    async def _finish(self) -> None:
        """Requests come to their end; shells are told; then everything is closed."""
        front, clock = self.front, self._clock
        front.draining = True
        self.links.drain()
        for connection in list(front.connections):
            connection.shut()
        deadline_ns = clock.monotonic_ns() + round(self._settings.pod_drain_seconds * NS)
        while front.open_now and clock.monotonic_ns() < deadline_ns:
            await clock.sleep(DRAIN_POLL_SECONDS)
        for connection in list(front.connections):
            connection.cut()
        await clock.sleep(0)
        await self.links.close()
        await self.parts.end()
        self._log.info("stopped")

    async def _sweep(self) -> None:
        while True:
            await self._clock.sleep(SWEEP_SECONDS)
            self.front.sweep()


def terms(settings: Settings) -> LinkTerms:
    """Where agents' links come in. Raises ``BadInput`` when agents could not be told where."""
    if not settings.pod_link_url and settings.pod_link_host in ("0.0.0.0", "::", ""):
        raise BadInput(
            "Set POD_LINK_URL to the address where agents reach this front: POD_LINK_HOST"
            " listens on all addresses and names none."
        )
    return LinkTerms(
        host=settings.pod_link_host,
        port=settings.pod_link_port,
        url=settings.pod_link_url,
        certificate=settings.pod_link_certificate,
        certificate_key=settings.pod_link_certificate_key,
        lease_max=settings.pod_link_lease_max,
        ports_max=settings.pod_link_ports_max,
    )
