"""What all xdist workers of one test run share: a folder, a lock, and servers started once."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RUN_PID = "GANGLION_TEST_RUN_PID"
START_SECONDS_MAX = 60


@contextmanager
def locked(folder: Path, name: str) -> Iterator[None]:
    """One process of the run at a time; freed by the kernel if the holder dies."""
    with (folder / f"{name}.lock").open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def server_url(folder: Path, kind: str) -> str:
    """The address of the run's server of this kind, started by whoever asks first."""
    address = folder / f"{kind}.url"
    with locked(folder, kind):
        if not address.exists():
            _start_keeper(folder, kind, address)
    return address.read_text()


def _start_keeper(folder: Path, kind: str, address: Path) -> None:
    with (folder / f"{kind}-keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [sys.executable, "-m", "tests.support.keeper", kind, str(folder), os.environ[RUN_PID]],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS_MAX
    while not address.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            said = (folder / f"{kind}-keeper.log").read_text()[-2000:]
            raise RuntimeError(f"The test {kind} did not start: {said}")
        time.sleep(0.01)
    # It outlives this process on purpose; nobody here waits for it.
    keeper.returncode = 0
