"""Worlds of money by seed: docs/simulator.md."""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.sim.money.breaks import BREAKS, planted
from tests.sim.money.logs import quiet
from tests.sim.money.run import STEPS, Result, run_seed
from tests.sim.whole.ground import SERVER, Server, server

TOLD_SEEDS = 50


def main(arguments: list[str]) -> int:
    asked = _read(arguments)
    if sys.flags.hash_randomization:  # the order of sets is part of a replay
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.sim.money", *arguments])
    quiet()
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)  # a world lives for seconds
    ground = server()
    try:
        return _run(asked, ground) if asked.jobs == 1 else _many(asked, ground)
    finally:
        ground.close()


def _read(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim.money", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one seed and show its trace")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of trouble a seed")
    parser.add_argument("--break", dest="planted", default="", choices=["", *BREAKS])
    parser.add_argument("--stop", action="store_true", help="end at the first broken seed")
    parser.add_argument("--lines", type=int, default=60, help="lines of a trace to show")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    return parser.parse_args(arguments)


def _run(asked: argparse.Namespace, ground: Server) -> int:
    alone = asked.seed is not None
    seeds = [asked.seed] if alone else range(asked.first, asked.first + asked.seeds)
    results: list[Result] = []
    for seed in seeds:
        with planted(asked.planted):  # anew for each: a break may remember
            result = run_seed(seed, ground, steps=asked.steps)
        results.append(result)
        if result.broken or alone:
            _show(result, asked.lines)
        elif len(results) % TOLD_SEEDS == 0:
            print(f"seed {seed}: {len(results)} of {len(seeds)} worlds kept every law", flush=True)
        if result.broken and asked.stop:
            break
    broken = sum(1 for result in results if result.broken)
    steps, faults = sum(r.steps for r in results), sum(r.faults for r in results)
    checks = sum(r.checks for r in results)
    print(f"seeds={len(results)} steps={steps} faults={faults} checks={checks} broken={broken}")
    return 1 if broken else 0


def _show(result: Result, lines: int) -> None:
    """The newest lines of the trace, then what broke."""
    print("\n".join(result.trace[-lines:]))
    for broken in result.broken:
        print(f"BROKEN seed={result.seed} step={result.steps}: {broken.law}: {broken.said}")
    print(f"seed={result.seed} trace={result.digest}", flush=True)


def _many(asked: argparse.Namespace, ground: Server) -> int:
    """The same in several processes, each with its part of the seeds."""
    each = -(-asked.seeds // asked.jobs)
    firsts = range(asked.first, asked.first + asked.seeds, each)
    children = [
        _child(asked, ground, first, min(each, asked.first + asked.seeds - first))
        for first in firsts
    ]
    sums: dict[str, int] = {}
    with ThreadPoolExecutor(len(children)) as readers:
        for last in readers.map(_pass_on, children):
            for part in last.split():
                name, _, value = part.partition("=")
                sums[name] = sums.get(name, 0) + int(value)
    print(" ".join(f"{name}={value}" for name, value in sums.items()))
    return 1 if sums["broken"] else 0


def _child(
    asked: argparse.Namespace, ground: Server, first: int, count: int
) -> subprocess.Popen[str]:
    own = ["--seeds", str(count), "--first", str(first), "--steps", str(asked.steps)]
    own += ["--break", asked.planted] if asked.planted else []
    command = [sys.executable, "-m", "tests.sim.money", *own, "--lines", str(asked.lines)]
    environment = {**os.environ, SERVER: ground.url}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def _pass_on(child: subprocess.Popen[str]) -> str:
    """Print a child's lines as they come; its last one, its sums, is returned."""
    assert child.stdout is not None, "opened as a pipe"
    last = ""
    for line in child.stdout:
        if last:
            print(last, flush=True)
        last = line.rstrip("\n")
    child.wait()
    return last


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
