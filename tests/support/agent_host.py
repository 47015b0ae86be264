"""An installed agent: launcher, versions and home in a folder of the test's own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

from brain.marketplace.agent_file import AgentFile, agent_sources, installed_wheels, pack
from node_agent.unpack import lay_launcher
from tests.support.agent_process import kill_workers


@cache
def packed(**changed: str) -> AgentFile:
    """The agent's file with some of its texts changed: ``node_agent__main="…"``."""
    code = agent_sources()
    for name, text in changed.items():
        code[f"{name.replace('__', '/')}.py"] = text.encode()
    return pack(code, dict(sorted(installed_wheels().items())), "0.1.0")


def source(name: str) -> str:
    return agent_sources()[f"{name}.py"].decode()


def another(mark: str) -> AgentFile:
    """A version that works like this one and has another SHA-256."""
    return packed(kernel____init__=source("kernel/__init__") + f"\n# {mark}\n")


class AgentHost:
    """Starts and kills the launcher, as a host's init would."""

    def __init__(self, folder: Path, brain_url: str, **environment: str) -> None:
        self.root = folder / "root"
        self.home = folder / "home"
        self.log = folder / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.root.mkdir(parents=True)
        settings = {
            "BRAIN_URL": brain_url,
            "AGENT_HOME": str(self.home),
            "AGENT_ENGINE": "process",
            "SIMULATE_GPUS": "2",
            "JOIN_TOKEN": "join-token",
            "AGENT_TRIAL_SECONDS": "60",
            "AGENT_TRIAL_SETTLE_SECONDS": "1",
            **environment,
        }
        lines = "".join(f"{name}={value}\n" for name, value in settings.items())
        (self.root / "agent.env").write_text(lines)

    def install(self, file: AgentFile) -> None:
        """Lay this version as the first one."""
        version = self.unpack(file)
        lay_launcher(version, self.root)
        (self.root / "current").symlink_to(f"versions/{file.sha256}")

    def unpack(self, file: AgentFile) -> Path:
        place = self.root.parent / "file.pyz"
        place.write_bytes(file.content)
        done = subprocess.run(
            [sys.executable, "-I", str(place), "unpack", str(self.root), file.sha256],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return Path(done.stdout.strip())

    def start(self, **environment: str) -> None:
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-s", "-P", "-m", "node_agent.launcher", "run"],
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(self.root / "launcher"),
                    **environment,
                },
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def kill(self) -> None:
        assert self.process is not None
        self.process.kill()
        self.process.wait(20)

    def clean(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(20)
        kill_workers(self.home)
        shutil.rmtree(self.root, ignore_errors=True)

    def current(self) -> str:
        return Path(os.readlink(self.root / "current")).name

    def read(self, name: str) -> Any:
        """A JSON file of the root; None where there is none."""
        path = self.root / name
        return json.loads(path.read_text()) if path.exists() else None

    def printed(self) -> str:
        return self.log.read_text() if self.log.exists() else ""
