"""Prometheus figures of the brain's HTTP; rooms add their own to the same registry."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_METHODS = frozenset({"GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"})


class Metrics:
    """One registry per app, so that two apps in one test process do not collide."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "ganglion_http_requests_total",
            "Requests answered, by method, route and status.",
            ("method", "route", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "ganglion_http_request_seconds",
            "Time from the request's head to the end of its answer.",
            ("route",),
            registry=self.registry,
        )

    def request(self, method: str, route: str, status: int, seconds: float) -> None:
        known = method if method in _METHODS else "other"
        self._requests.labels(known, route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def counted(self, method: str, route: str, status: int) -> Callable[[float], None]:
        """What counts a request of one kind, found once: for those that come by the hundred."""
        requests = self._requests.labels(method, route, str(status))
        durations = self._seconds.labels(route)

        def count(seconds: float) -> None:
            requests.inc()
            durations.observe(seconds)

        return count

    def text(self) -> bytes:
        return generate_latest(self.registry)
