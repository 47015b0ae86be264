"""Counters of the gateway in the text format that Prometheus reads."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator

from kernel.clock import NS

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)

GAPS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)


class Histogram:
    """Observations in fixed buckets of seconds."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = SECONDS) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(self.bounds, seconds)] += 1
        self.total += seconds

    def lines(self, name: str, labels: str) -> Iterator[str]:
        seen = 0
        for bound, count in zip(self.bounds, self.counts, strict=False):
            seen += count
            yield f'{name}_bucket{{{labels},le="{bound}"}} {seen}'
        yield f'{name}_bucket{{{labels},le="+Inf"}} {sum(self.counts)}'
        yield f"{name}_sum{{{labels}}} {self.total:.6f}"
        yield f"{name}_count{{{labels}}} {sum(self.counts)}"


class Metrics:
    """What is counted on the request path: plain integers, rendered when asked."""

    def __init__(self) -> None:
        self.requests: dict[str, dict[int, int]] = {}
        self.durations: dict[str, Histogram] = {}
        self.first_content: dict[str, Histogram] = {}
        self.token_gaps: dict[str, Histogram] = {}
        self.waits: dict[str, Histogram] = {}
        # Of streams: noted while they run, observed by ``settle``.
        self._begun: list[tuple[str, float]] = []
        self._flowed: list[tuple[str, int, int, int]] = []
        self.events: dict[str, int] = {
            "failover": 0,
            "continued": 0,
            "worker_failed": 0,
            "worker_refused": 0,
            "stream_broken": 0,
            "client_gone": 0,
            "usage_shipped": 0,
            "usage_parked": 0,
            "slice_asked": 0,
            "waited": 0,
            "replayed": 0,
        }

    def finished(self, route: str, status: int, seconds: float) -> None:
        try:
            self.requests[route][status] += 1
            histogram = self.durations[route]
        except KeyError:
            self.requests.setdefault(route, {})[status] = 1
            histogram = self.durations.setdefault(route, Histogram())
        histogram.counts[bisect_left(SECONDS, seconds)] += 1
        histogram.total += seconds

    def began(self, route: str, seconds: float) -> None:
        """The first content of a stream went to the client."""
        self._begun.append((route, seconds))

    def flowed(self, route: str, since_ns: int, until_ns: int, tokens: int) -> None:
        """A stream came to its end; the mean gap between two of its tokens is counted."""
        self._flowed.append((route, since_ns, until_ns, tokens))

    def went_on(self, route: str, seconds: float) -> None:
        """A request left the line for a worker."""
        self.waits.setdefault(route, Histogram()).observe(seconds)

    def settle(self) -> None:
        """Observe what was noted: a few times a second, and before the page is read."""
        for route, seconds in self._begun:
            self.first_content.setdefault(route, Histogram()).observe(seconds)
        for route, since_ns, until_ns, tokens in self._flowed:
            if tokens > 1:
                gap = (until_ns - since_ns) / (tokens - 1) / NS
                self.token_gaps.setdefault(route, Histogram(GAPS)).observe(gap)
        self._begun.clear()
        self._flowed.clear()

    def count(self, event: str, by: int = 1) -> None:
        self.events[event] += by

    def render(self, gauges: dict[str, float]) -> bytes:
        """The page. ``gauges`` are present values, by name."""
        self.settle()
        lines = ["# TYPE ganglion_gateway_requests_total counter"]
        for route, statuses in sorted(self.requests.items()):
            for status, count in sorted(statuses.items()):
                labels = f'route="{route}",status="{status}"'
                lines.append(f"ganglion_gateway_requests_total{{{labels}}} {count}")
        for name, histograms in (
            ("ganglion_gateway_request_seconds", self.durations),
            ("ganglion_gateway_first_content_seconds", self.first_content),
            ("ganglion_gateway_token_gap_seconds", self.token_gaps),
            ("ganglion_gateway_wait_seconds", self.waits),
        ):
            lines.append(f"# TYPE {name} histogram")
            for route, histogram in sorted(histograms.items()):
                lines.extend(histogram.lines(name, f'route="{route}"'))
        for event, count in self.events.items():
            lines.append(f"# TYPE ganglion_gateway_{event}_total counter")
            lines.append(f"ganglion_gateway_{event}_total {count}")
        for name, value in gauges.items():
            lines.append(f"# TYPE ganglion_gateway_{name} gauge")
            lines.append(f"ganglion_gateway_{name} {value:g}")
        return "\n".join(lines).encode() + b"\n"
