"""How the gathering itself does, for Prometheus."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge

from kernel.clock import NS


class Meters:
    """One set a process, in its registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.beats = Counter(
            "ganglion_beats", "Heartbeats of agents that were admitted.", registry=registry
        )
        self.written = Counter(
            "ganglion_history_rows", "Rows of telemetry that were written.", registry=registry
        )
        self.lost = Counter(
            "ganglion_history_rows_lost",
            "Rows of telemetry that were given up: no room, or the database was away too long.",
            registry=registry,
        )
        self.failures = Counter(
            "ganglion_history_flush_failures",
            "Times that telemetry could not be written and was kept for later.",
            registry=registry,
        )
        self._states_lost = Counter(
            "ganglion_states_lost",
            "Newest states of nodes that were not kept, because Valkey was away.",
            registry=registry,
        )
        self._flushed = Gauge(
            "ganglion_history_flushed_timestamp_seconds",
            "When telemetry was last written completely.",
            registry=registry,
        )

    def states_lost(self, nodes: int) -> None:
        self._states_lost.inc(nodes)

    def flushed(self, now_ns: int) -> None:
        self._flushed.set(now_ns // NS)
