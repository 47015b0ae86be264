"""A simulator as people run it, in a process of its own: what it finds is found by seed again."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterable, Mapping
from random import Random
from typing import Any

import pytest

from tests.sim.whole.ground import SERVER
from tests.support import warm
from tests.support.plugin import SEED

SECONDS_MAX = 600
BREAK_SEEDS = 20
LAST = re.compile(r"seeds=(\d+) steps=(\d+) faults=(\d+) checks=(\d+) broken=(\d+)")


def simulate(server: str, module: str, *arguments: str) -> tuple[int, str]:
    """The exit code and what was printed."""
    environment = {**os.environ, SERVER: server}
    with tempfile.TemporaryFile("w+") as said:
        own = [module, *arguments]
        run = warm.start("worlds", own, environment=environment, output=said.fileno())
        try:
            code = run.wait(SECONDS_MAX)
        finally:
            run.kill()
        said.seek(0)
        return code, said.read()


def last_line(said: str) -> tuple[int, ...]:
    """Seeds, steps, faults, checks and broken, in this order."""
    found = LAST.fullmatch(said.rstrip().rpartition("\n")[2])
    assert found is not None, said
    return tuple(int(number) for number in found.groups())


def broken_by(name: str, server: str, module: str, *, first: int, steps: int) -> tuple[int, str]:
    """What is said of worlds with this fault in them, to the first that breaks a law; how many did.
    A run in which none does ends with 0."""
    seeds = ("--first", str(first), "--seeds", str(BREAK_SEEDS), "--steps", str(steps))
    code, said = simulate(server, module, "--break", name, *seeds, "--stop")
    broken = last_line(said)[-1]
    assert code == broken, said
    return broken, said


def drawn(names: Iterable[str], count: int) -> set[str]:
    """So many of them, anew in each run."""
    return set(Random(os.environ[SEED]).sample(sorted(names), count))


def some(firsts: Mapping[str, int], chosen: set[str]) -> list[Any]:
    """Name and number of each; those that are not chosen run with `make test-long`."""
    return [
        pytest.param(name, first, marks=[] if name in chosen else [pytest.mark.long])
        for name, first in firsts.items()
    ]
