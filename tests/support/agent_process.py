"""The real agent as a process of its own, as a host runs it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from tests.support import warm
from tests.support.warm import Forked

ROOT = Path(__file__).resolve().parents[2]


class AgentProcess:
    """Starts, stops and kills the agent of one home."""

    def __init__(
        self, home: Path, brain_url: str, *, within: Sequence[str] = (), **environment: str
    ) -> None:
        self.home = home
        self.within = within  # what it is run by, such as ``ip netns exec NAME``
        self.environment = {
            "PATH": os.environ["PATH"],
            "BRAIN_URL": brain_url,
            "AGENT_HOME": str(home),
            "AGENT_ENGINE": "process",
            "AGENT_FIREWALL": "0",  # the machine that runs the tests keeps its own
            "SIMULATE_GPUS": "2",
            "JOIN_TOKEN": "join-token",
            **environment,
        }
        self.process: Forked | subprocess.Popen[bytes] | None = None
        self.cold = False  # by its command line, for who measures its memory or its start
        self.log = home.parent / f"{home.name}.log"

    def start(self, *arguments: str) -> None:
        cold = self.cold or self.within or any(name.startswith("LD_") for name in self.environment)
        with self.log.open("ab") as output:
            if not cold:
                self.process = warm.start(
                    "agent", arguments, environment=self.environment, output=output.fileno()
                )
                return
            self.process = subprocess.Popen(
                [*self.within, sys.executable, "-m", "node_agent.main", *arguments],
                cwd=ROOT,
                env=self.environment,
                stdout=output,
                stderr=output,
            )

    async def stop(self, number: signal.Signals = signal.SIGTERM, seconds: float = 40) -> int:
        """Its exit code. Waits in a thread: the agent may have a last word to a brain in here."""
        assert self.process is not None
        self.process.send_signal(number)
        return await asyncio.to_thread(self.process.wait, seconds)

    def rss_mib(self) -> float:
        assert self.process is not None
        return float(psutil.Process(self.process.pid).memory_info().rss / (1 << 20))

    def printed(self) -> str:
        return self.log.read_text() if self.log.exists() else ""

    def clean(self) -> None:
        """End the agent and every worker that it left, so that a test leaves nothing."""
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait(10)
        kill_workers(self.home)


def kill_workers(home: Path) -> None:
    """Those of this home that still live; some may end just now."""
    for worker in workers(home):
        with suppress(psutil.NoSuchProcess):
            worker.kill()


def workers(home: Path) -> list[psutil.Process]:
    """Live processes whose scratch folder lies in this home."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get("HOME", "").startswith(str(home)):
                found.append(process)
        except (psutil.Error, OSError):
            continue
    return [process for process in found if _lives(process)]


def _lives(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextmanager
def agent_at(home: Path, brain_url: str, **environment: str) -> Iterator[AgentProcess]:
    agent = AgentProcess(home, brain_url, **environment)
    agent.start()
    try:
        yield agent
    finally:
        agent.clean()
