"""How full workers say that they are: vLLM's own gauges, read over their links now and then, for
deployments that are scaled by their load. Never on the path of a request."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass

from inference.answering import Lost
from inference.links import Link, Links
from inference.relay import DATA, Relay
from inference.route import Replica
from inference.snapshot import Deployment
from kernel.clock import NS, Clock

AT_ONCE = 8  # workers that are asked at a time
WAIT_SECONDS_MAX = 2.0
PAGE_BYTES_MAX = 1 << 20
KEPT_PACES = 4  # a reading older than so many paces says nothing any more
VALUE_MAX = 1e9  # of a gauge: what is more is no count of anything
CROWD_MAX = 2.0  # times what a cache holds, that a queue behind it may count for
CACHES = (b"vllm:kv_cache_usage_perc", b"vllm:gpu_cache_usage_perc")  # the older name
RUNNING, QUEUED = b"vllm:num_requests_running", b"vllm:num_requests_waiting"
_REQUEST = b"GET /metrics HTTP/1.1\r\nhost: worker\r\naccept: text/plain\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Reading:
    """Of one worker. ``cache``: the part of its KV cache that is in use."""

    at_ns: int
    cache: float
    running: float
    queued: float

    @property
    def need(self) -> float:
        """Caches that what it has would fill: more than its own where requests queue for it."""
        if not self.queued:
            return self.cache
        crowd = (self.running + self.queued) / self.running if self.running else CROWD_MAX
        return self.cache * min(crowd, CROWD_MAX)


@dataclass(slots=True)
class _Worker:
    due_ns: int
    asked: bool = False
    reading: Reading | None = None


class Gauges:
    def __init__(self, clock: Clock, seconds: float) -> None:
        self._clock = clock
        self._pace_ns = round(seconds * NS)  # 0: nobody is asked
        self._workers: dict[str, _Worker] = {}
        self._asks: set[asyncio.Task[None]] = set()

    def look(self, deployments: Iterable[Deployment[Links]]) -> None:
        """Ask whose turn it is; those that are gone are forgotten."""
        if not self._pace_ns:
            return
        now_ns, before, self._workers = self._clock.monotonic_ns(), self._workers, {}
        for deployment in deployments:
            if not deployment.row.scaled:
                continue
            for replica in deployment.replicas:
                name = replica.row.replica_id
                worker = before.get(name) or _Worker(now_ns + replica.place % self._pace_ns)
                self._workers[name] = worker
                ready = replica.ready and not worker.asked
                if ready and now_ns >= worker.due_ns and len(self._asks) < AT_ONCE:
                    self._ask(replica, worker, now_ns)

    def need(self, deployment: Deployment[Links]) -> tuple[float, int]:
        """Caches that its load fills, all its ready workers together, and requests queued there.
        Those that say nothing are taken to be as the others."""
        after_ns = self._clock.monotonic_ns() - KEPT_PACES * self._pace_ns
        ready = [one.row.replica_id for one in deployment.replicas if one.ready]
        workers = [self._workers[name] for name in ready if name in self._workers]
        told = [one.reading for one in workers if one.reading and one.reading.at_ns > after_ns]
        if not told:
            return 0.0, 0
        caches = sum(reading.need for reading in told) * len(ready) / len(told)
        return caches, round(sum(reading.queued for reading in told))

    def close(self) -> None:
        for task in self._asks:
            task.cancel()

    def _ask(self, replica: Replica[Links], worker: _Worker, now_ns: int) -> None:
        worker.asked, worker.due_ns = True, now_ns + self._pace_ns
        task = asyncio.get_running_loop().create_task(self._read(replica, worker))
        self._asks.add(task)
        task.add_done_callback(self._asks.discard)

    async def _read(self, replica: Replica[Links], worker: _Worker) -> None:
        question = _Question()
        try:
            replica.links.borrow(question)
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                await question.answered
            worker.reading = question.page.reading(self._clock.monotonic_ns()) or worker.reading
        except TimeoutError:
            pass  # it is asked again at its next turn
        finally:
            worker.asked = False
            question.stop()


class Page:
    """A page of metrics as it comes: of it only the few lines that matter are kept."""

    def __init__(self) -> None:
        self.size = 0
        self._rest = b""
        self._values: dict[bytes, list[float]] = {}

    def feed(self, received: bytes) -> None:
        self.size += len(received)
        *lines, self._rest = (self._rest + received).split(b"\n")
        for line in lines:
            self._take(line)

    def reading(self, at_ns: int) -> Reading | None:
        """``None`` where it does not tell of a cache, as of engines that have none."""
        self._take(self._rest)
        caches = next((self._values[name] for name in CACHES if name in self._values), None)
        if not caches:
            return None
        cache = sum(caches) / len(caches)  # of engines side by side
        running, queued = (sum(self._values.get(name, ())) for name in (RUNNING, QUEUED))
        return Reading(at_ns, min(max(cache, 0.0), 1.0), max(running, 0.0), max(queued, 0.0))

    def _take(self, line: bytes) -> None:
        name = line.partition(b"{")[0].partition(b" ")[0]
        if name not in CACHES and name not in (RUNNING, QUEUED):
            return
        try:
            value = float(line.rpartition(b"}")[2].split()[0 if b"}" in line else 1])
        except (ValueError, IndexError):
            return
        if abs(value) <= VALUE_MAX:
            self._values.setdefault(name, []).append(value)


class _Question:
    """One request over a worker's link."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.page = Page()
        self._link: Link | None = None

    def link_ready(self, link: Link) -> None:
        if self.answered.done():
            link.give_back()
            return
        self._link = link
        link.send(_REQUEST)

    def answer_whole(self, status: int, kind: bytes, retry_after: bytes, content: bytes) -> None:
        self._link = None
        if status == 200:
            self.page.feed(content)
        self._settle()

    def answer_head(self, status: int, kind: bytes, length: int) -> None: ...

    def answer_body(self, received: bytes) -> None:
        self.page.feed(received)
        if self.page.size > PAGE_BYTES_MAX:
            self.stop()

    def answer_event(self, chunk: bytes, start: int) -> Relay | None:
        self.answer_body(chunk[start - len(DATA) : -2])
        return None

    def answer_end(self) -> None:
        self._link = None
        self._settle()

    def answer_lost(self, why: Lost) -> None:
        self._link = None
        self._settle()

    def stop(self) -> None:
        """Nobody waits for it any more."""
        link, self._link = self._link, None
        if link is not None:
            link.drop()
        self._settle()

    def _settle(self) -> None:
        if not self.answered.done():
            self.answered.set_result(None)
