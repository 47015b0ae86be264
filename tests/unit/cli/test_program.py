"""Big programs that are started before what they need is there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from cli.supervisor.environment import big_program
from cli.supervisor.plan import Gate
from tests.support.shared import ROOT

PROGRAM = """
import os
if __name__ != "__main__":
    print("is imported", flush=True)
elif os.path.exists("needed"):
    print("runs", flush=True)
"""


def begun(folder: Path, gate: Gate) -> subprocess.Popen[str]:
    (folder / "heavy.py").write_text(PROGRAM)
    told, keeps = gate.before("heavy")
    own = {**os.environ, "PYTHONPATH": f"{ROOT}:{folder}", **told}
    return subprocess.Popen(
        big_program("heavy"),
        env=own,
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        pass_fds=keeps,
    )


def test_it_imports_before_the_gate_and_runs_once_it_is_open(tmp_path: Path) -> None:
    gate = Gate()
    with begun(tmp_path, gate) as program:
        assert program.stdout is not None
        first = program.stdout.readline()
        (tmp_path / "needed").touch()
        gate.open()
        assert (first, program.stdout.read()) == ("is imported\n", "runs\n")
    assert program.returncode == 0


def test_an_open_gate_keeps_nobody(tmp_path: Path) -> None:
    gate = Gate()
    gate.open()
    assert gate.before("heavy") == ({}, ())
    (tmp_path / "needed").touch()
    with begun(tmp_path, gate) as program:
        assert program.stdout is not None
        assert program.stdout.read() == "runs\n"
