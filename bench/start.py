"""Seconds from ``make run`` to the first answered request, and what each process holds in memory.

Cold: a fresh clone of the last commit, its virtual environment made from a warm package cache.
Warm: the same clone started again; the median of three. ``make demo`` is then told in it, from its
own start to its stop.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from time import perf_counter, sleep
from typing import Any

import httpx
import psutil

from bench.figure import Figure
from cli.embedded.child import die_with_parent
from cli.supervisor.home import Home

ROOT = Path(__file__).resolve().parents[1]
COLD_SECONDS_MAX = 300
STOP_SECONDS_MAX = 20
FRONT_SECONDS_MAX = 60
DEMO_SECONDS_MAX = 300
WARM_ROUNDS = 3
MIB = 1024 * 1024


async def figures(url: str, redis_url: str) -> list[Figure]:
    """Uses its own embedded stores, as ``make run`` does."""
    return await asyncio.to_thread(_measure)


def _measure() -> list[Figure]:
    folder = Path(tempfile.mkdtemp(prefix="ganglion-start-"))
    clone = folder / "clone"
    try:
        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        with started(clone) as (cold, _):
            pass
        warm, memory = [], {}
        for _ in range(WARM_ROUNDS):
            with started(clone) as (seconds, ready):
                warm.append(seconds)
                _wait_for_front(ready)
                memory = resident_mib(Path(ready["home"]))
        demo = _demo_seconds(clone)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    found = [
        Figure("start_cold_s", cold, "s"),
        Figure("start_warm_s", median(warm), "s"),
        Figure("demo_s", demo, "s"),
        Figure("agent_rss_mib", memory["agent"], "MiB"),
    ]
    return found + [Figure(f"rss_mib_{name}", mib, "MiB") for name, mib in sorted(memory.items())]


def _environment(clone: Path) -> dict[str, str]:
    outside = {n: v for n, v in os.environ.items() if n not in ("DATABASE_URL", "REDIS_URL")}
    own = {"GANGLION_HOME": str(clone / ".ganglion"), "POD_FRONT_PORT": "0", "SSH_PORT": "0"}
    return outside | own


def _demo_seconds(clone: Path) -> float:
    """The whole main job, on a product that the demo starts and stops itself."""
    began = perf_counter()
    subprocess.run(
        ["make", "demo"],
        cwd=clone,
        env=_environment(clone),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        check=True,
        timeout=DEMO_SECONDS_MAX,
    )
    return perf_counter() - began


@contextmanager
def started(clone: Path) -> Iterator[tuple[float, dict[str, Any]]]:
    """``make run`` in the clone: the seconds until a request was answered, and what it said."""
    began = perf_counter()
    process = subprocess.Popen(
        ["make", "run", "ARGS=--json --brain-port 0 --gateway-port 0"],
        cwd=clone,
        env=_environment(clone),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509  one prctl call
    )
    try:
        ready = _document(process)
        _ask(ready)
        yield perf_counter() - began, ready
    finally:
        # The whole group is told, and make may end before what it started.
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(STOP_SECONDS_MAX)
        _wait_until_free(clone / ".ganglion")


def _wait_until_free(home: Path) -> None:
    deadline = perf_counter() + STOP_SECONDS_MAX
    while Home(home).is_held():
        if perf_counter() > deadline:
            raise RuntimeError(f"the run did not stop within {STOP_SECONDS_MAX} s")
        sleep(0.05)


def _wait_for_front(ready: dict[str, Any]) -> None:
    """The front of pods is begun once the first request can be answered."""
    url = f"http://127.0.0.1:{ready['pod_front_port']}/health/ready"
    deadline = perf_counter() + FRONT_SECONDS_MAX
    while perf_counter() < deadline:
        with suppress(httpx.TransportError):
            if httpx.get(url, timeout=5).status_code == 200:
                return
        sleep(0.05)
    raise RuntimeError(f"the front of pods was not ready within {FRONT_SECONDS_MAX} s")


def _document(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """What ``up --json`` prints when it is up; make and the bootstrap may say a line before."""
    assert process.stdout is not None, "opened as a pipe"
    text = ""
    for raw in process.stdout:
        line = raw.decode()
        if text or line.startswith("{"):
            text += line
        if line.rstrip() == "}":
            found: dict[str, Any] = json.loads(text)
            if "error" in found:
                raise RuntimeError(found["error"])
            return found
    raise RuntimeError(f"make run ended with {process.wait()}")


def _ask(ready: dict[str, Any]) -> None:
    answer = httpx.post(
        f"{ready['gateway_url']}/v1/chat/completions",
        headers={"authorization": f"Bearer {ready['api_key']}"},
        json={"model": ready["model"], "messages": [{"role": "user", "content": "Hello"}]},
        timeout=30,
    )
    answer.raise_for_status()


def resident_mib(home: Path) -> dict[str, float]:
    """Each part's memory: the resident set of one process, shared pages of PostgreSQL once."""
    state = json.loads((home / "state.json").read_text())
    found = {"supervisor": _rss(psutil.Process(state["pid"]))}
    for name, part in state["parts"].items():
        process = psutil.Process(part["pid"])
        found[name] = _pss_of_family(process) if name == "postgres" else _rss(process)
    return found


def _rss(process: psutil.Process) -> float:
    return round(process.memory_info().rss / MIB, 1)


def _pss_of_family(process: psutil.Process) -> float:
    family = [process, *process.children(recursive=True)]
    return round(sum(one.memory_full_info().pss for one in family) / MIB, 1)
