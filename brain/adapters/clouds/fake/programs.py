"""The programs of fake machines: child processes that outlive the process which started them.

A machine's processes are known by a variable that all of them inherit, so that another process
of the brain, or the same one after a restart, finds and ends every one of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import psutil

from brain.clouds import Boot

MARK = "GANGLION_FAKE_MACHINE"
PASSED_ON = ("LANG", "TZ", "LD_LIBRARY_PATH")
KILL_ROUNDS = 100
KILL_ROUND_SECONDS = 0.02
START_SECONDS_MAX = 10
LOG_BYTES_MAX = 256 * 1024
# The first shell ends at once: init, not this process, buries what it leaves. A watch goes with
# the program: what is left of a machine whose program ended goes, and so does a machine whose
# cloud nobody has asked anything for two minutes. Else a stopped installation would leave them.
DETACHED = """
(sh ./boot.sh; echo $? > exit) >> output.log 2>&1 < /dev/null &
(
  while [ ! -e exit ] && [ -n "$(find ../../lock -mmin -2 2> /dev/null)" ]; do sleep 2; done
  [ -e exit ] || echo 143 > exit
  kill -TERM 0
) > /dev/null 2>&1 < /dev/null &
"""


def keep(home: Path, boot: Boot) -> None:
    """Put what a machine is to run on its disk; readable by this user alone."""
    home.mkdir(parents=True, mode=0o700)
    for name, content in (
        ("boot.sh", boot.script.encode()),
        ("boot.json", msgspec.json.encode(dict(boot.env))),
    ):
        (home / name).touch(mode=0o600)
        (home / name).write_bytes(content)


def start(home: Path, *, gpus: int) -> bool:
    """Whether the program runs now; it does not where somebody took the disk away."""
    try:
        (home / "exit").unlink(missing_ok=True)
        given: dict[str, str] = msgspec.json.decode((home / "boot.json").read_bytes())
        subprocess.run(
            ["sh", "-c", DETACHED],
            cwd=home,
            env=_environment(home, gpus) | given | {MARK: _mark(home)},
            start_new_session=True,
            check=True,
            timeout=START_SECONDS_MAX,
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def has_ended(home: Path) -> bool:
    """The program ended by itself."""
    return (home / "exit").exists()


def kill(home: Path) -> None:
    """End every process of the machine, also those that started others meanwhile."""
    for _ in range(KILL_ROUNDS):
        found = list(_processes(_mark(home)))
        if not found:
            return
        for process in found:
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
        psutil.wait_procs(found, timeout=KILL_ROUND_SECONDS)


def forget(home: Path) -> None:
    shutil.rmtree(home, ignore_errors=True)


def output(home: Path, lines_max: int) -> list[str]:
    """The last lines that its program wrote."""
    path = home / "output.log"
    if not path.exists():
        return []
    with path.open("rb") as file:
        file.seek(max(path.stat().st_size - LOG_BYTES_MAX, 0))
        return file.read().decode(errors="replace").splitlines()[-lines_max:]


def _mark(home: Path) -> str:
    """Its disk names a machine: each fake cloud of this computer counts from one."""
    return str(home.resolve())


def _processes(mark: str) -> Iterator[psutil.Process]:
    for process in psutil.process_iter():
        try:
            if process.environ().get(MARK) == mark:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue


def _environment(home: Path, gpus: int) -> dict[str, str]:
    """Nothing of the brain's own: its secrets are not the machine's."""
    own = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    interpreter = str(Path(sys.executable).parent)
    return own | {
        "PATH": os.pathsep.join([interpreter, os.environ.get("PATH", os.defpath)]),
        "HOME": str(home),
        "TMPDIR": str(home),
        "SIMULATE_GPUS": str(gpus),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
