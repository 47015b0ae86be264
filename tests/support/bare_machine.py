"""A machine before the set-up: its programs are links to this one's, but for those that tests tell
what to say. Only they are on its path, so that nothing of this machine is found by chance."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.shared import ROOT

REAL = (
    *("awk", "cat", "chmod", "cut", "date", "dirname", "flock", "grep", "mkdir", "readlink", "rm"),
    *("sh", "sha256sum", "tail"),
)
SECONDS_MAX = 240  # on a machine that is busy with other tests
# One program stands for the machine's Python and for that of a virtual environment.
PYTHON = """#!{python} -IS
import os, shutil, signal, sys, types
from pathlib import Path

own, say = sys.argv[1:], os.environ.get
with open(say("CALLS"), "a") as calls:
    print(*own[:3], file=calls)
sys.version_info = tuple(map(int, say("VERSION").split(".")))
if not Path(sys.argv[0]).with_name("pip").exists():
    sys.modules["pip"] = None
else:
    sys.modules["pip"] = types.ModuleType("pip")
if not Path(say("VENV_MODULE")).exists():
    sys.modules["ensurepip"] = None

def die(at):
    if say("DIES_IN") == at:
        os.kill(os.getppid(), signal.SIGKILL)

if own == ["--version"]:
    print("Python", say("VERSION"))
elif own[0] == "-c":
    exec(own[1])
elif own[:2] == ["-m", "venv"]:
    made = Path(own[2], "bin")
    made.mkdir(parents=True, exist_ok=True)
    shutil.copy(sys.argv[0], made / "python")
    die("venv")
    (made / "pip").touch()
elif own[:3] == ["-m", "pip", "install"]:
    Path(sys.argv[0]).with_name("package").touch()
    die("pip")
    print(say("PIP_SAYS", ""))
    sys.exit("PIP_SAYS" in os.environ)
"""
PROGRAMS = {
    "id": 'echo "$USER_ID"',
    "df": 'echo "Filesystem 1024-blocks Used Available"; echo "/dev/x 9 9 $FREE_KIB"',
    "apt-get": 'echo "$1 $4" >>"$CALLS"; [ -n "$PACKAGES" ] && : >"$VENV_MODULE"',
}


@dataclass
class BareMachine:
    """``settings`` say what its programs answer: a plain Debian 12 with an empty clone on it."""

    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        (self.folder / "tools").mkdir(parents=True)
        shutil.copy(ROOT / "tools" / "bootstrap.sh", self.folder / "tools")
        (self.folder / "requirements.lock").write_text("one==1\n")
        (self.folder / "requirements-dev.lock").write_text("one==1\ntwo==2\n")
        programs = self.folder / "programs"
        programs.mkdir()
        for name in REAL:
            (programs / name).symlink_to(str(shutil.which(name)))
        texts = {name: f"#!/bin/sh\n{text}\n" for name, text in PROGRAMS.items()}
        for name, text in {**texts, "python3": PYTHON.format(python=sys.executable)}.items():
            (programs / name).write_text(text)
            (programs / name).chmod(0o755)
        (self.folder / "venv-module").touch()
        self.settings = {
            "PATH": str(programs),
            "CALLS": str(self.folder / "calls"),
            "VENV_MODULE": str(self.folder / "venv-module"),
            "VERSION": "3.11.2",
            "USER_ID": "1000",
            "FREE_KIB": str(5 << 20),
            "PACKAGES": "",
        }

    def without_venv_module(self) -> None:
        (self.folder / "venv-module").unlink()

    def begin(self, kind: str = "runtime", **settings: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [str(self.folder / "tools" / "bootstrap.sh"), kind],
            cwd=os.sep,
            env={**self.settings, **settings},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def set_up(self, kind: str = "runtime", **settings: str) -> subprocess.CompletedProcess[str]:
        process = self.begin(kind, **settings)
        said = process.communicate(timeout=SECONDS_MAX)
        return subprocess.CompletedProcess(process.args, process.returncode, *said)

    def calls(self, beginning: str) -> int:
        """How often its Python or its package manager was called so."""
        lines = Path(self.settings["CALLS"]).read_text().splitlines()
        return sum(line.startswith(beginning) for line in lines)

    def is_set_up(self, kind: str = "runtime") -> bool:
        return (self.folder / ".venv" / f"{kind}.stamp").exists()
