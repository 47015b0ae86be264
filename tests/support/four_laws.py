"""What must hold whatever happens to a host, told from outside: by the machine's own list of
processes with times, by the leases as the database holds them, by receipts computed anew.

No GPU-second is sold twice. None is billed after its lease's end. Work ends with its lease. What
runs on is the same work as before.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import asyncpg
import docker
import psutil
import requests

from kernel.clock import SystemClock
from kernel.receipt import recompute
from tests.support.agent_process import AgentProcess, workers
from tests.support.installation import Installation
from tests.support.wait import pause

CLOCK = SystemClock()
LOOK_SECONDS, LIST_EVERY = 0.1, 5  # alive: each look; what is new: each fifth
Look = Callable[[], Mapping[str, Iterable[psutil.Process]]]  # by lease

_LEASES = """
    SELECT l.lease_id, l.deployment_id, l.opened_ns, l.closed_ns, l.outcome, l.renewed_ns,
           array_agg(g.node_id || '/' || g.gpu_uuid ORDER BY g.position) AS gpus
    FROM lease l JOIN lease_gpu g USING (lease_id) GROUP BY l.lease_id ORDER BY l.opened_ns
"""


@dataclass(frozen=True)
class LeaseRow:
    """``gpus``: node and UUID of each. ``closed_ns`` None: it holds them still."""

    lease_id: str
    deployment_id: str
    opened_ns: int
    closed_ns: int | None
    outcome: str | None
    renewed_ns: int
    gpus: tuple[str, ...]


@dataclass
class Run:
    """One process of a lease's work, and when it was first and last seen to run."""

    lease_id: str
    process: psutil.Process
    first_ns: int
    last_ns: int
    ended: bool = False


@dataclass
class Witness:
    """Looks at the machine's processes in a thread of its own, from ``start`` to ``stop``."""

    looks: list[Look] = field(default_factory=list)
    runs: list[Run] = field(default_factory=list)
    _over: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join(60)

    def running(self, *leases: str) -> dict[str, list[int]]:
        """The processes that run now, by lease; of these leases where some are named."""
        found: dict[str, list[int]] = {}
        for run in self.runs:
            if not run.ended and (not leases or run.lease_id in leases):
                found.setdefault(run.lease_id, []).append(run.process.pid)
        return found

    def last_ns(self, lease_id: str) -> int:
        """When work of this lease was last seen."""
        return max(run.last_ns for run in self.runs if run.lease_id == lease_id)

    def _watch(self) -> None:
        turn = 0
        while not self._over.is_set():
            if turn % LIST_EVERY == 0:
                for look in self.looks:
                    self._add(look())
            self._see()
            turn += 1
            pause(LOOK_SECONDS)

    def _add(self, found: Mapping[str, Iterable[psutil.Process]]) -> None:
        now_ns = CLOCK.now_ns()
        known = [run.process for run in self.runs]
        for lease_id, processes in found.items():
            for process in processes:
                if process not in known:
                    self.runs.append(Run(lease_id, process, now_ns, now_ns))

    def _see(self) -> None:
        for run in [run for run in self.runs if not run.ended]:
            now_ns = CLOCK.now_ns()
            if _runs(run.process):
                run.last_ns = now_ns
            else:
                run.ended = True


def in_docker(url: str) -> Look:
    """The first process of each lease's container; a Docker that is away shows nothing new."""
    client = docker.APIClient(base_url=url, version="1.41", timeout=20)

    def look() -> dict[str, list[psutil.Process]]:
        found: dict[str, list[psutil.Process]] = {}
        try:
            for one in client.containers(filters={"label": "ganglion.lease"}):
                state = client.inspect_container(one["Id"])["State"]
                if state["Running"] and state["Pid"]:
                    lease_id = one["Labels"]["ganglion.lease"]
                    found.setdefault(lease_id, []).append(psutil.Process(state["Pid"]))
        except (requests.RequestException, docker.errors.DockerException, psutil.Error):
            return found
        return found

    return look


def as_processes(agent: AgentProcess) -> Look:
    """The workers that an agent runs as plain processes, by the scratch folder of each."""

    def look() -> dict[str, list[psutil.Process]]:
        found: dict[str, list[psutil.Process]] = {}
        for process in workers(agent.home):
            try:
                parts = process.environ()["HOME"].split("/")
            except (psutil.Error, OSError, KeyError):
                continue
            found.setdefault(parts[parts.index("work") + 1], []).append(process)
        return found

    return look


async def leases(product: Installation) -> list[LeaseRow]:
    """Every lease that ever was, the oldest first."""
    url = product.state()["embedded_database_url"].replace("+asyncpg", "")
    connection = await asyncpg.connect(url, timeout=30)
    try:
        rows = await connection.fetch(_LEASES)
    finally:
        await connection.close()
    return [LeaseRow(**{**row, "gpus": tuple(row["gpus"])}) for row in map(dict, rows)]


def nothing_sold_twice(rows: Sequence[LeaseRow], runs: Sequence[Run]) -> None:
    """On each GPU one lease after the other; and no work before its lease or after it, and none
    beside another's."""
    by_id = {row.lease_id: row for row in rows}
    for gpu in sorted({gpu for row in rows for gpu in row.gpus}):
        held = sorted((row.opened_ns, row.closed_ns) for row in rows if gpu in row.gpus)
        for (_, before_ns), (after_ns, _) in pairwise(held):
            assert before_ns is not None, f"{gpu} is held twice: {held}"
            assert before_ns <= after_ns, f"{gpu} is held twice: {held}"
        worked = sorted(
            (run.first_ns, run.last_ns, run.lease_id)
            for run in runs
            if gpu in by_id[run.lease_id].gpus
        )
        for one, next_one in pairwise(worked):
            same = one[2] == next_one[2]
            assert same or one[1] <= next_one[0], f"two at work on {gpu}: {one} {next_one}"
    for run in runs:
        row = by_id[run.lease_id]
        assert run.first_ns >= row.opened_ns, f"work before its lease: {run} {row}"
        assert row.closed_ns is None or run.last_ns <= row.closed_ns, f"after it: {run} {row}"


def nothing_billed_after_the_end(receipt: Mapping[str, Any], rows: Sequence[LeaseRow]) -> None:
    """Computed anew from the receipt alone, it is as it says; no bill runs past its lease's end,
    nor, where the node was lost, past the last sign of life."""
    verdict = recompute(receipt)
    assert verdict.ok, verdict.wrong
    by_id = {row.lease_id: row for row in rows}
    assert receipt["leases"], "there is something to look at"
    for told in receipt["leases"]:
        row = by_id[told["lease_id"]]
        until_ns = [bill["until_ns"] for bill in told["bills"]]
        if row.closed_ns is None:
            continue
        assert max(until_ns, default=0) <= row.closed_ns, told
        if row.outcome == "lost":
            assert max(until_ns, default=0) <= told["evidence_ns"], told
        if told["final"]:
            length_ns = told["closed_ns"] - told["opened_ns"]
            assert sum(told["buckets"].values()) == len(row.gpus) * length_ns, told


def open_leases(rows: Sequence[LeaseRow]) -> set[str]:
    return {row.lease_id for row in rows if row.closed_ns is None}


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False
