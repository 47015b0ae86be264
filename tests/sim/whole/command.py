"""What ``python -m tests.sim`` does and prints, once it is known what is asked."""

from __future__ import annotations

from dataclasses import dataclass

from tests.sim.whole.breaks import planted
from tests.sim.whole.crashes import ALL_CLOUDS, run_crashes
from tests.sim.whole.ground import Server
from tests.sim.whole.run import Result, run_seed


@dataclass(frozen=True)
class Asked:
    seed: int | None = None
    seeds: int = 20
    first: int = 1
    steps: int = 60
    planted: str = ""
    stop: bool = False
    lines: int = 60
    jobs: int = 1
    crashes: bool = False
    cloud: str = ""
    every: int = 1
    skip: int = 0
    own_images: bool = False


TOLD_SEEDS = 10


def run(asked: Asked, ground: Server) -> int:
    """Run what is asked; the last line printed is the sum. 1 when a law was broken."""
    with planted(asked.planted):
        if asked.crashes:
            clouds = (asked.cloud,) if asked.cloud else ALL_CLOUDS
            results = run_crashes(ground, clouds, asked.every, asked.skip, asked.lines)
        else:
            results = _seeds(asked, ground)
    broken = sum(1 for result in results if result.broken)
    steps = sum(result.steps for result in results)
    faults = sum(result.faults for result in results)
    checks = sum(result.checks for result in results)
    print(f"seeds={len(results)} steps={steps} faults={faults} checks={checks} broken={broken}")
    return 1 if broken else 0


def _seeds(asked: Asked, ground: Server) -> list[Result]:
    alone = asked.seed is not None
    seeds = [asked.seed] if alone else range(asked.first, asked.first + asked.seeds)
    results = []
    for seed in seeds:
        assert seed is not None, "a number was given, or a range of them"
        result = run_seed(seed, ground, steps=asked.steps, own_images=asked.own_images)
        results.append(result)
        if result.broken or alone:
            show(result, asked.lines)
        elif len(results) % TOLD_SEEDS == 0:
            print(f"seed {seed}: {len(results)} of {len(seeds)} worlds kept every law", flush=True)
        if result.broken and asked.stop:
            break
    return results


def show(result: Result, lines: int) -> None:
    """The newest lines of the trace, then what broke."""
    print("\n".join(result.trace[-lines:]))
    for broken in result.broken:
        print(f"BROKEN seed={result.seed} step={result.steps}: {broken.law}: {broken.said}")
    print(f"seed={result.seed} trace={result.digest}")
