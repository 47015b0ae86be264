"""Stand-in workers as real processes: ``worker = stand_in_worker("--faults", …)``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support import warm
from tests.support.warm import Forked

MODEL = "stand-in"
STOP_SECONDS_MAX = 30
ANSWER_SECONDS_MAX = 30


@dataclass(frozen=True)
class StandIn:
    """A running stand-in worker."""

    url: str
    model: str
    process: Forked

    def state(self) -> dict[str, Any]:
        told = httpx.get(f"{self.url}/stand-in/state", timeout=ANSWER_SECONDS_MAX)
        answer: dict[str, Any] = told.json()
        return answer

    def fail(self, **fault: object) -> None:
        """Add a fault for the next requests, e.g. ``fail(fault="cut", after_bytes=200)``."""
        url = f"{self.url}/stand-in/faults"
        httpx.post(url, json=fault, timeout=ANSWER_SECONDS_MAX).raise_for_status()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(STOP_SECONDS_MAX)


StartStandIn = Callable[..., StandIn]


def start_stand_in(*options: str, model: str = MODEL) -> StandIn:
    """Start one on a free port and wait for its readiness line."""
    arguments = ["--port", "0", "--model", model, *options]
    process = warm.start_that_says("stand-in", arguments)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the stand-in worker did not start; exit code {process.wait(STOP_SECONDS_MAX)}"
    ready = json.loads(line)
    return StandIn(f"http://127.0.0.1:{ready['port']}", model, process)


@pytest.fixture
def stand_in_worker() -> Iterator[StartStandIn]:
    """Starts stand-in workers that end with the test."""
    started: list[StandIn] = []

    def start(*options: str, model: str = MODEL) -> StandIn:
        started.append(start_stand_in(*options, model=model))
        return started[-1]

    yield start
    for worker in started:
        worker.process.kill()
        worker.process.wait()
        if worker.process.stdout is not None:
            worker.process.stdout.close()


@pytest.fixture(scope="module")
def quick_stand_in() -> Iterator[StandIn]:
    """One with no pace, shared by the tests of a module that leave no fault behind."""
    worker = start_stand_in("--tokens-per-second", "0", "--first-token-ms", "0")
    yield worker
    worker.process.kill()
    worker.process.wait()
    if worker.process.stdout is not None:
        worker.process.stdout.close()
