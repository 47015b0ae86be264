"""Runs the programs of emulated machines: each in a folder and a process tree of its own."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from standins.clouds.machine import Program
from standins.clouds.rules import Exit

KEEPER = Path(__file__).with_name("keeper.py")
END_SECONDS_MAX = 10.0
LOG_BYTES_MAX = 256 * 1024
# A machine may turn itself off; this computer must not take it for itself.
SWITCHES = ("shutdown", "poweroff", "halt", "reboot")
SWITCH_FOLDER = ".switches"
SWITCH = """#!/bin/sh
exec kill -TERM "$STAND_IN_KEEPER"
"""
CANNOT_START = 126  # as a shell says it
PASSED_ON = ("LANG", "TZ", "LD_LIBRARY_PATH")


class Processes:
    """The launcher that really runs things. ``environment`` is given to every machine, under
    what its order says; this interpreter's folder is early on its ``PATH``, as an image that
    brings Python would have it, and before it lies a ``shutdown`` that ends the machine alone."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        self._environment = environment
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._ending: list[subprocess.Popen[bytes]] = []
        self._unstarted: list[Exit] = []

    def start(self, machine_id: str, program: Program, *, gpus: int) -> None:
        home = self._home(machine_id)
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        _lay_switches(home)
        ends = "1" if program.ends_machine else "0"
        with (home / "output.log").open("ab") as output:
            try:
                self._running[machine_id] = subprocess.Popen(
                    [sys.executable, "-I", "-S", str(KEEPER), ends, *program.argv],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=home,
                    env=self._environ(machine_id, program, home, gpus),
                    start_new_session=True,
                )
            except (OSError, ValueError) as wrong:  # too long, or a NUL in it
                output.write(f"the program cannot be started: {wrong}\n".encode())
                self._unstarted.append(Exit(machine_id, CANNOT_START))

    def exits(self) -> list[Exit]:
        self._bury()
        ended, self._unstarted = self._unstarted, []
        for machine_id, process in list(self._running.items()):
            code = process.poll()
            if code is not None:
                self._end(machine_id)
                ended.append(Exit(machine_id, code))
        return ended

    def kill(self, machine_id: str) -> None:
        """Returns at once; its processes are gone a moment later. Unknown ones are none."""
        if machine_id in self._running:
            self._end(machine_id)

    def forget(self, machine_id: str) -> None:
        """The machine is gone, and its disk with it."""
        self.kill(machine_id)
        shutil.rmtree(self._home(machine_id), ignore_errors=True)

    def output(self, machine_id: str, lines_max: int) -> list[str]:
        """The last lines that its program wrote."""
        path = self._home(machine_id) / "output.log"
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(max(path.stat().st_size - LOG_BYTES_MAX, 0))
            text = file.read().decode(errors="replace")
        return text.splitlines()[-lines_max:]

    def close(self) -> None:
        """Kill every machine and wait for the last process."""
        for machine_id in list(self._running):
            self._end(machine_id)
        for process in self._ending:
            try:
                process.wait(END_SECONDS_MAX)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._ending.clear()

    def _end(self, machine_id: str) -> None:
        process = self._running.pop(machine_id)
        assert process.stdin is not None, "the keeper is told by its pipe"
        process.stdin.close()
        self._ending.append(process)

    def _bury(self) -> None:
        self._ending = [process for process in self._ending if process.poll() is None]

    def _home(self, machine_id: str) -> Path:
        return self._folder / machine_id

    def _environ(self, machine_id: str, program: Program, home: Path, gpus: int) -> dict[str, str]:
        own = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
        interpreter = str(Path(sys.executable).parent)
        own |= {
            "PATH": os.pathsep.join(
                [str(home / SWITCH_FOLDER), interpreter, os.environ.get("PATH", os.defpath)]
            ),
            "HOME": str(home),
            "TMPDIR": str(home),
            "SIMULATE_GPUS": str(gpus),
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        own |= dict(self._environment) | dict(program.env)
        if program.id_variable:
            own[program.id_variable] = machine_id
        return own


def _lay_switches(home: Path) -> None:
    folder = home / SWITCH_FOLDER
    folder.mkdir(exist_ok=True)
    for name in SWITCHES:
        (folder / name).write_text(SWITCH)
        (folder / name).chmod(0o755)
