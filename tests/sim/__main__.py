"""``python -m tests.sim``: whole worlds by seed. See docs/simulator.md."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys

from tests.sim.whole.ground import Server, server
from tests.sim.whole.run import STEPS, Result, run_seed

LINES = 60


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one seed")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of trouble a seed")
    parser.add_argument("--lines", type=int, default=LINES, help="lines of the trace to show")
    asked = parser.parse_args(arguments)
    if os.environ.get("PYTHONHASHSEED") != "0":  # the order of sets is part of a replay
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.sim", *arguments])
    seeds = (
        [asked.seed] if asked.seed is not None else range(asked.first, asked.first + asked.seeds)
    )
    results = asyncio.run(_run(list(seeds), server(), asked.steps, asked.lines))
    broken = sum(1 for result in results if result.broken)
    steps = sum(result.steps for result in results)
    faults = sum(result.faults for result in results)
    checks = sum(result.checks for result in results)
    print(f"seeds={len(results)} steps={steps} faults={faults} checks={checks} broken={broken}")
    return 1 if broken else 0


async def _run(seeds: list[int], ground: Server, steps: int, lines: int) -> list[Result]:
    results = []
    for seed in seeds:
        result = await run_seed(seed, ground, steps=steps)
        results.append(result)
        if result.broken or len(seeds) == 1:
            _show(result, lines)
    await ground.close()
    return results


def _show(result: Result, lines: int) -> None:
    print("\n".join(result.trace[-lines:]))
    for broken in result.broken:
        print(f"BROKEN seed={result.seed} step={result.steps}: {broken.law}: {broken.said}")
    print(f"seed={result.seed} digest={result.digest}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
