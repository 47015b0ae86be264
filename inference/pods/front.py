"""What all connections of one front share: pods, links, limits, counters, and the slow beat."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Protocol

from inference.pods.limits import Counts, Failures
from inference.pods.reach import Reaches, open_link
from inference.pods.settings import Settings
from inference.pods.table import Pods, Run
from kernel.clock import NS, Clock

SWEEP_SECONDS = 0.5


class Watched(Protocol):
    """A connection that the slow beat looks at."""

    def watch(self, now_ns: int) -> None:
        """Close what took too long."""
        ...

    def shut(self) -> None:
        """The front stops: take nothing new."""
        ...

    def cut(self) -> None:
        """The front has stopped waiting: close at once."""
        ...


class Front:
    """Made once. ``connected`` is whether the brain's stream is up."""

    def __init__(self, settings: Settings, clock: Clock, pods: Pods, links: Reaches) -> None:
        self.settings = settings
        self.clock = clock
        self.pods = pods
        self.links = links
        self.now_ns = clock.monotonic_ns
        self.connections: set[Watched] = set()
        self.addresses = Counts(settings.pod_connections_per_address_max)
        self.busy = Counts(settings.pod_connections_per_pod_max)  # by pod id: HTTP and SSH alike
        self.ssh_addresses = Counts(settings.ssh_connections_per_address_max)
        self.ssh_failures = Failures(settings.ssh_failures_per_minute_max, clock.monotonic_ns)
        self.counted: Counter[str] = Counter()
        self.ssh_connections = 0
        self.link_gauges: Callable[[], dict[str, float]] = dict
        self.connected = False
        self.draining = False
        self._heard_ns = clock.monotonic_ns()
        self._stale_ns = ns(settings.snapshot_stale_seconds)

    async def open(self, run: Run, port: int | str) -> asyncio.Transport:
        """A raw link to a port of a pod's run, in the time that the settings allow. Raises
        ``UpstreamTimeout`` or ``UpstreamFailed``, as people are told of it."""
        seconds_max = self.settings.pod_link_seconds_max
        return await open_link(self.links, run, port, seconds_max=seconds_max, now_ns=self.now_ns)

    def sweep(self) -> None:
        now_ns = self.now_ns()
        for connection in list(self.connections):
            connection.watch(now_ns)

    def heard(self) -> None:
        """The brain said something."""
        self.connected = True
        self._heard_ns = self.now_ns()

    def why_not_ready(self) -> str | None:
        """One sentence, or ``None`` when people are taken to pods."""
        if self.draining:
            return "This front is shutting down."
        if not self.pods.loaded:
            return "This front is starting."
        if self.now_ns() - self._heard_ns > self._stale_ns:
            return "This front has lost touch with the brain."
        return None

    @property
    def open_now(self) -> int:
        """Requests, tunnels and shells that run."""
        return self.busy.total


def ns(seconds: float) -> int:
    return round(seconds * NS)
