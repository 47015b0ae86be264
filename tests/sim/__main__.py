"""Whole worlds by seed, and deaths at every mark: docs/simulator.md."""

from __future__ import annotations

import argparse
import gc
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

from tests.sim.whole.breaks import BREAKS
from tests.sim.whole.command import Asked, run
from tests.sim.whole.ground import SERVER, Server, server
from tests.sim.whole.run import STEPS

JOB_LAST = "seeds="


def main(arguments: list[str]) -> int:
    asked = _read(arguments)
    if sys.flags.hash_randomization:  # the order of sets is part of a replay
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "tests.sim", *arguments])
    gc.freeze()
    gc.set_threshold(100_000, 20, 50)  # a world lives for seconds
    ground = server()
    try:
        return run(asked, ground) if asked.jobs == 1 else _many(asked, ground)
    finally:
        ground.close()


def _read(arguments: list[str]) -> Asked:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seed", type=int, help="replay this one seed and show its trace")
    parser.add_argument("--seeds", type=int, default=20, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first seed")
    parser.add_argument("--steps", type=int, default=STEPS, help="steps of trouble a seed")
    parser.add_argument("--break", default="", choices=["", *BREAKS], help="plant this fault")
    parser.add_argument("--stop", action="store_true", help="end at the first broken seed")
    parser.add_argument("--lines", type=int, default=60, help="lines of a trace to show")
    parser.add_argument("--jobs", type=int, default=1, help="processes side by side")
    parser.add_argument("--crashes", action="store_true", help="die at every mark, cloud by cloud")
    parser.add_argument("--cloud", default="", help="with --crashes: this cloud alone")
    parser.add_argument("--every", type=int, default=1, help="with --crashes: each n-th death")
    parser.add_argument("--skip", type=int, default=0, help="with --crashes: so many deaths first")
    parser.add_argument(
        "--own-images", action="store_true", help="people run their own images at clouds as well"
    )
    given = vars(parser.parse_args(arguments))
    given["planted"] = given.pop("break")
    return Asked(**given)


def _many(asked: Asked, ground: Server) -> int:
    """The same in several processes, each with its part of the seeds."""
    each = -(-asked.seeds // asked.jobs)
    children = []
    for first in range(asked.first, asked.first + asked.seeds, each):
        count = min(each, asked.first + asked.seeds - first)
        children.append(_child(asked, ground, first, count))
    sums: dict[str, int] = {}
    with ThreadPoolExecutor(len(children)) as readers:
        for last in readers.map(_pass_on, children):
            for part in last.split():
                name, _, value = part.partition("=")
                sums[name] = sums.get(name, 0) + int(value)
    print(" ".join(f"{name}={value}" for name, value in sums.items()))
    return 1 if sums["broken"] else 0


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


def _child(asked: Asked, ground: Server, first: int, count: int) -> subprocess.Popen[str]:
    own = ["--seeds", str(count), "--first", str(first), "--steps", str(asked.steps)]
    if asked.planted:
        own += ["--break", asked.planted]
    if asked.stop:
        own += ["--stop"]
    if asked.own_images:
        own += ["--own-images"]
    command = [sys.executable, "-m", "tests.sim", *own, "--lines", str(asked.lines)]
    environment = {**os.environ, SERVER: ground.url}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
