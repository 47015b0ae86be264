"""What the worker counts, and /metrics with vLLM's names and buckets."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass

ABORTS_KEPT = 1000
_E2E = (0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0)
_E2E_BUCKETS = (*_E2E, 120.0, 240.0, 480.0, 960.0, 1920.0, 7680.0)
_TTFT = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5)
_TTFT_BUCKETS = (*_TTFT, 10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0)
_ITL = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5)
_ITL_BUCKETS = (*_ITL, 10.0, 20.0, 40.0, 80.0)
HISTOGRAMS = {
    "time_to_first_token_seconds": _TTFT_BUCKETS,
    "inter_token_latency_seconds": _ITL_BUCKETS,
    "e2e_request_latency_seconds": _E2E_BUCKETS,
    "request_queue_time_seconds": _E2E_BUCKETS,
    "request_inference_time_seconds": _E2E_BUCKETS,
    "request_prefill_time_seconds": _E2E_BUCKETS,
    "request_decode_time_seconds": _E2E_BUCKETS,
}
FINISHED = ("stop", "length", "abort", "error", "repetition")


@dataclass(frozen=True, slots=True)
class Abort:
    """A request whose client hung up before its end. Monotonic time is the machine's own."""

    identity: str
    path: str
    at_ns: int
    at_monotonic_ns: int
    after_tokens: int


@dataclass(frozen=True, slots=True)
class Timing:
    """The moments of one finished request, in monotonic nanoseconds."""

    arrived_ns: int
    started_ns: int
    first_token_ns: int
    ended_ns: int


class Histogram:
    def __init__(self, buckets: tuple[float, ...]) -> None:
        self.buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.total = 0.0

    def add(self, value: float, times: int = 1) -> None:
        place = next((at for at, edge in enumerate(self.buckets) if value <= edge), -1)
        self.counts[place] += times
        self.total += value * times

    def lines(self, name: str, labels: str) -> list[str]:
        lines: list[str] = []
        seen = 0
        for edge, count in zip([*map(str, self.buckets), "+Inf"], self.counts, strict=True):
            seen += count
            lines.append(f'{name}_bucket{{{labels},le="{edge}"}} {float(seen)}')
        return [
            *lines,
            f"{name}_count{{{labels}}} {float(seen)}",
            f"{name}_sum{{{labels}}} {self.total}",
        ]


class Book:
    """All counts of one worker."""

    def __init__(self, model: str, seats: int, cache_tokens: int = 0) -> None:
        self.running = 0
        self.cached_tokens = 0  # of what runs, its whole answers among them
        self.waiting = 0
        self.started = 0
        self.finished = 0
        self.aborted = 0
        self.rejected = 0
        self.preempted = 0
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.aborts: deque[Abort] = deque(maxlen=ABORTS_KEPT)
        self._seats = seats
        self._cache_tokens = cache_tokens
        self._ends = dict.fromkeys(FINISHED, 0)
        self._histograms = {name: Histogram(edges) for name, edges in HISTOGRAMS.items()}
        quoted = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        self._model = f'model_name="{quoted}"'

    def abort(self, abort: Abort) -> None:
        self.aborted += 1
        self.aborts.append(abort)

    def finish(self, timing: Timing, tokens: int, reasons: tuple[str, ...]) -> None:
        """One request reached its end; ``tokens`` were already counted as they were made."""
        self.finished += 1
        for reason in reasons:
            self._ends[reason if reason in self._ends else "stop"] += 1
        first = timing.first_token_ns
        spans = {
            "time_to_first_token_seconds": first - timing.arrived_ns,
            "e2e_request_latency_seconds": timing.ended_ns - timing.arrived_ns,
            "request_queue_time_seconds": timing.started_ns - timing.arrived_ns,
            "request_inference_time_seconds": timing.ended_ns - timing.started_ns,
            "request_prefill_time_seconds": first - timing.started_ns,
            "request_decode_time_seconds": timing.ended_ns - first,
        }
        for name, span_ns in spans.items():
            self._histograms[name].add(span_ns / 1e9)
        if tokens > 1:
            between = (timing.ended_ns - first) / 1e9 / (tokens - 1)
            self._histograms["inter_token_latency_seconds"].add(between, tokens - 1)

    def state(self) -> dict[str, object]:
        return {
            "running": self.running,
            "waiting": self.waiting,
            "requests_started": self.started,
            "requests_finished": self.finished,
            "requests_aborted": self.aborted,
            "requests_rejected": self.rejected,
            "prompt_tokens": self.prompt_tokens,
            "generation_tokens": self.generation_tokens,
            "aborts": [asdict(abort) for abort in self.aborts],
        }

    @contextmanager
    def caching(self, tokens: int) -> Iterator[None]:
        """A request is in the KV cache."""
        self.cached_tokens += tokens
        try:
            yield
        finally:
            self.cached_tokens -= tokens

    @property
    def cache_use(self) -> float:
        if self._cache_tokens:
            return min(self.cached_tokens / self._cache_tokens, 1.0)
        return min(self.running / self._seats, 1.0)

    def text(self) -> str:
        """The Prometheus page."""
        labels = f'engine="0",{self._model}'
        lines: list[str] = []
        for name, value in (
            ("num_requests_running", self.running),
            ("num_requests_waiting", self.waiting),
            ("kv_cache_usage_perc", self.cache_use),
        ):
            lines += [f"# TYPE vllm:{name} gauge", f"vllm:{name}{{{labels}}} {float(value)}"]
        for name, value in (
            ("prompt_tokens", self.prompt_tokens),
            ("generation_tokens", self.generation_tokens),
            ("num_preemptions", self.preempted),
        ):
            lines += [
                f"# TYPE vllm:{name} counter",
                f"vllm:{name}_total{{{labels}}} {float(value)}",
            ]
        lines.append("# TYPE vllm:request_success counter")
        for reason, count in self._ends.items():
            own = f'engine="0",finished_reason="{reason}",{self._model}'
            lines.append(f"vllm:request_success_total{{{own}}} {float(count)}")
        own = f'{self._model},reason="max_num_queued_reqs"'
        lines.append("# TYPE vllm:admission_rejections counter")
        lines.append(f"vllm:admission_rejections_total{{{own}}} {float(self.rejected)}")
        for name, histogram in self._histograms.items():
            lines.append(f"# TYPE vllm:{name} histogram")
            lines += histogram.lines(f"vllm:{name}", labels)
        return "\n".join(lines) + "\n"
