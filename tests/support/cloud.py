"""Emulated clouds as real processes: ``cloud = stand_in_cloud("runpod", "--seed", "1")``."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from tests.support import warm
from tests.support.warm import Forked

KEY = "stand-in"
STOP_SECONDS_MAX = 60
ANSWER_SECONDS_MAX = 30  # on a machine that is busy with other tests


@dataclass(frozen=True)
class StandInCloud:
    """A running emulated cloud."""

    url: str
    key: str
    point: dict[str, str]  # the product's settings for it
    process: Forked

    def state(self) -> dict[str, Any]:
        told = httpx.get(f"{self.url}/stand-in/state", timeout=ANSWER_SECONDS_MAX)
        answer: dict[str, Any] = told.json()
        return answer

    def fail(self, **fault: object) -> None:
        """Add a fault for the calls to come, e.g. ``fail(fault="cut", operation="create")``."""
        url = f"{self.url}/stand-in/faults"
        httpx.post(url, json=fault, timeout=ANSWER_SECONDS_MAX).raise_for_status()

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(STOP_SECONDS_MAX)


StartCloud = Callable[..., StandInCloud]


def start_cloud(name: str, *options: str) -> StandInCloud:
    """Start one on a free port and wait for its readiness line."""
    process = warm.start_that_says("cloud", [name, "--port", "0", "--key", KEY, *options])
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line, f"the stand-in did not start; exit code {process.wait(STOP_SECONDS_MAX)}"
    ready = json.loads(line)
    url = f"http://127.0.0.1:{ready['port']}"
    return StandInCloud(url, KEY, ready["point"], process)


@pytest.fixture
def stand_in_cloud() -> Iterator[StartCloud]:
    """Starts emulated clouds that end with the test, their machines with them."""
    started: list[StandInCloud] = []

    def start(name: str, *options: str) -> StandInCloud:
        started.append(start_cloud(name, *options))
        return started[-1]

    yield start
    for cloud in started:
        cloud.stop()
        if cloud.process.stdout is not None:
            cloud.process.stdout.close()
