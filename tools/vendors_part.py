"""The part "vendors": others' own clients, unmodified, to prove things of ours with: the clouds'
our emulators, those that speak the OpenAI API our gateway.

Nothing of it is a dependency of the product. Each client has its own environment below
.parts/vendors, since they disagree (vastai pins the cryptography that runpod calls too old), made
from a hashed lock. To move one: change its version in pyproject.toml's extra and then

    echo runpod==X | uv pip compile - -o tools/vendors/runpod.lock --universal \\
        --generate-hashes --no-emit-index-url --no-header --no-annotate --python-version 3.11
"""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tools.part import PARTS, ROOT, run_quietly

HOME = PARTS / "vendors"
LOCKS = ROOT / "tools" / "vendors"
INSTALL_SECONDS_MAX = 600
CHECK_SECONDS_MAX = 60
Say = Callable[[str], None]


@dataclass(frozen=True)
class Client:
    """One client. ``module`` is what it is imported by, which proves that it is there."""

    name: str
    module: str

    @property
    def home(self) -> Path:
        return HOME / self.name

    @property
    def python(self) -> Path:
        return self.home / "bin" / "python"

    @property
    def lock(self) -> Path:
        return LOCKS / f"{self.name}.lock"

    def is_ready(self) -> bool:
        stamp = self.home / "ganglion.stamp"
        return stamp.exists() and stamp.read_text() == self._mark()

    def fetch(self) -> None:
        """Make it anew, or raise ``CannotHave``."""
        log = PARTS / "log" / f"vendors-{self.name}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.home, ignore_errors=True)
        # The pip that is here installs into it: a pip of its own would take as long again.
        make = [sys.executable, "-m", "venv", "--without-pip", str(self.home)]
        run_quietly(make, log, seconds_max=CHECK_SECONDS_MAX)
        pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet"]
        pip += ["--no-input", "--disable-pip-version-check", "--progress-bar", "off"]
        pip += ["--no-deps", "--no-compile", "--require-hashes", "-r", str(self.lock)]
        run_quietly(pip, log, seconds_max=INSTALL_SECONDS_MAX)
        check = [str(self.python), "-c", f"import {self.module}"]
        run_quietly(check, log, seconds_max=CHECK_SECONDS_MAX)
        (self.home / "ganglion.stamp").write_text(self._mark())

    def _mark(self) -> str:
        recipe = self.lock.read_bytes() + os.fsencode(self.home.resolve()) + sys.version.encode()
        return hashlib.sha256(recipe).hexdigest()


CLIENTS = (
    Client("runpod", "runpod"),
    Client("vast", "vastai"),
    Client("lambda", "lambda_ai_cloud_api_client"),
    Client("agents", "agents"),
    Client("langchain", "langchain_openai"),
    Client("momo", "mtnmomo"),
)


def client(name: str) -> Client:
    return next(client for client in CLIENTS if client.name == name)


def is_ready() -> bool:
    return all(client.is_ready() for client in CLIENTS)


def fetch(say: Say) -> None:
    """Install those that are not there, side by side, or raise ``CannotHave``."""
    wanted = [client for client in CLIENTS if not client.is_ready()]
    say("installs the clients of " + ", ".join(client.name for client in wanted))
    with ThreadPoolExecutor(len(CLIENTS)) as pool:
        list(pool.map(Client.fetch, wanted))
