"""A process whose wall clock is wrong, beside others on this machine whose clock is right."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

SOURCE = Path(__file__).with_name("wrong_clock.c")
BUILD_SECONDS_MAX = 60
LOOK = "import time; print(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))"


def wrong_clock(folder: Path, seconds: int) -> dict[str, str]:
    """The environment of such a process; skips with the reason where there can be none."""
    compiler = shutil.which("gcc") or shutil.which("cc")
    if compiler is None:
        pytest.skip("no C compiler to build a library that moves a process's clock")
    library = folder / "wrong_clock.so"
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-O1", "-o", str(library), str(SOURCE), "-ldl"],
        check=True,
        timeout=BUILD_SECONDS_MAX,
    )
    environment = {"LD_PRELOAD": str(library), "WRONG_CLOCK_SECONDS": str(seconds)}
    _check(environment, seconds)
    return environment


def _check(environment: dict[str, str], seconds: int) -> None:
    """It moves the wall clock of a Python process, and leaves the boot clock."""
    done = subprocess.run(
        [sys.executable, "-c", LOOK],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=BUILD_SECONDS_MAX,
        check=True,
    )
    wall, boot = map(float, done.stdout.split())
    moved = (wall - time.time()) - (boot - time.clock_gettime(time.CLOCK_BOOTTIME))
    if round(moved) != seconds:
        pytest.skip(f"a preloaded library does not move Python's clock here (by {moved:.0f} s)")
