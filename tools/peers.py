"""Gateways that a bench compares with, each in a virtual environment below .parts/peers."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tools.part import PARTS, run_quietly

INSTALL_SECONDS_MAX = 900
LOG = PARTS / "log" / "peers.log"


@dataclass(frozen=True)
class Peer:
    """One package of a registry, at one version; ``command`` proves that it is there."""

    name: str
    requirement: str
    command: str

    @property
    def home(self) -> Path:
        return PARTS / "peers" / self.name

    def is_ready(self) -> bool:
        stamp = self.home / "ganglion.stamp"
        return stamp.exists() and stamp.read_text() == self.requirement

    def fetch(self, say: Callable[[str], None]) -> None:
        """Install it, or raise ``CannotHave``. May be repeated."""
        LOG.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.home, ignore_errors=True)
        run_quietly([sys.executable, "-m", "venv", str(self.home)], LOG, seconds_max=120)
        say(f"installs {self.requirement}")
        pip = [str(self.home / "bin" / "python"), "-m", "pip", "install", "--no-input", "--quiet"]
        pip += ["--disable-pip-version-check", "--progress-bar", "off", self.requirement]
        run_quietly(pip, LOG, seconds_max=INSTALL_SECONDS_MAX)
        program = self.home / "bin" / self.command
        run_quietly([str(program), "--help"], LOG, seconds_max=60)
        (self.home / "ganglion.stamp").write_text(self.requirement)


VLLM_ROUTER = Peer("vllm-router", "vllm-router==0.1.17", "vllm-router")
LITELLM = Peer("litellm", "litellm[proxy]==1.104.5", "litellm")
