"""Keeps one agent running on a host, and takes its updates back when they are no good.

``python3 -m node_agent.launcher run|start|stop|status|agent …``. A copy of it lies beside the
versions that it starts and is replaced by the installer alone, so that a broken version cannot
break it: it needs nothing but Python 3.11. A version that was not here before is on trial: it
must be heard by the brain and live on for a while, or the one before comes back and its hash is
tried no more.
"""

from __future__ import annotations

import ctypes
import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from node_agent.versions import Root, Trial, accept, give_back, is_held, read, settle, write

UPDATED = 75  # the agent's exit code when it laid a new version ready
LOOK_SECONDS = 0.5
ASK_SECONDS = 5.0
STOP_SECONDS_MAX = 60.0
PAUSE_SECONDS_MAX = 60.0
CALM_SECONDS = 60.0  # an agent that lived so long is started again without a pause
LOG_BYTES_MAX = 20 << 20
SIGNALS = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}


class Launcher:
    """One host's supervisor of one agent."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._seconds = float(root.env.get("AGENT_TRIAL_SECONDS", "180"))
        self._starts_max = int(root.env.get("AGENT_TRIAL_STARTS", "3"))
        self._settle_seconds = float(root.env.get("AGENT_TRIAL_SETTLE_SECONDS", "15"))
        self._child: subprocess.Popen[bytes] | None = None
        self._began = self._due = self._asked = 0.0
        self._pause = 1.0
        self._mark = 0
        self._heard_at: float | None = None

    def run(self) -> int:
        """Until SIGTERM. The agent's own work goes on when both end."""
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            while True:
                if self._child is None and now() >= self._due:
                    self._begin()
                told = signal.sigtimedwait(SIGNALS, LOOK_SECONDS)
                number = 0 if told is None else told.si_signo
                if number in (signal.SIGTERM, signal.SIGINT):
                    return 0
                if number == signal.SIGHUP:
                    self._end()
                    self._due = 0.0
                self._look()
        finally:
            self._end()

    def _begin(self) -> None:
        settle(self._root)
        current, trial = self._root.current(), self._root.trial()
        if trial is not None:
            if trial.starts >= self._starts_max:
                self._take_back(trial, f"it ended {trial.starts} times before the brain heard it")
                current, trial = self._root.current(), None
            else:
                trial = replace(trial, starts=trial.starts + 1)
                self._root.save_trial(trial)
        if not self._root.has(current):
            say("no_version", hint="run the install command again")
            self._due = now() + PAUSE_SECONDS_MAX
            return
        if is_held(self._root.home / "agent.lock"):
            if trial is not None:
                self._root.save_trial(replace(trial, starts=trial.starts - 1))
            self._due = now() + 1.0  # the agent of a launcher that died is on its way out
            return
        self._mark, self._heard_at = self._heard_mark(), None
        self._began = self._asked = now()
        self._child = subprocess.Popen(
            [sys.executable, "-s", "-P", "-m", "node_agent.main"],
            env=agent_env(self._root, current),
            stdin=subprocess.DEVNULL,
            preexec_fn=_for_child(),  # noqa: PLW1509  one thread only
        )
        say("agent_started", pid=self._child.pid, version=current[:12], trial=trial is not None)

    def _look(self) -> None:
        if self._child is None:
            return
        code = self._child.poll()
        if code is not None:
            self._ended(code)
            return
        trial = self._root.trial()
        if trial is not None:
            self._judge(trial)
        _turn_log(self._root)

    def _ended(self, code: int) -> None:
        lived = now() - self._began
        self._child = None
        if code == UPDATED or lived >= CALM_SECONDS:
            self._pause, self._due = 1.0, 0.0
        else:
            self._due = now() + self._pause
            self._pause = min(self._pause * 2, PAUSE_SECONDS_MAX)
        say("agent_ended", code=code, lived_seconds=round(lived, 1))

    def _judge(self, trial: Trial) -> None:
        if self._heard_at is None and self._heard_mark() != self._mark:
            self._heard_at = now()
        if self._heard_at is not None:
            if now() - self._heard_at >= self._settle_seconds:
                accept(self._root, trial)
                say("version_accepted", version=trial.to[:12])
            return
        if now() - self._asked < ASK_SECONDS:
            return
        passed, self._asked = now() - self._asked, now()
        if not brain_answers(self._root.env.get("BRAIN_URL", "")):
            return  # its silence says nothing about this version
        trial = replace(trial, silent_seconds=trial.silent_seconds + passed)
        self._root.save_trial(trial)
        if trial.silent_seconds >= self._seconds:
            self._end()
            self._take_back(trial, f"the brain did not hear it for {self._seconds:.0f} s")

    def _take_back(self, trial: Trial, reason: str) -> None:
        give_back(self._root, trial, reason)
        self._pause, self._due = 1.0, 0.0
        say("version_taken_back", version=trial.to[:12], back=trial.back[:12], reason=reason)

    def _heard_mark(self) -> int:
        with suppress(OSError):
            return (self._root.home / "heard").stat().st_mtime_ns
        return 0

    def _end(self) -> None:
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()
        self._child = None


def now() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def say(event: str, **facts: object) -> None:
    sys.stderr.write(json.dumps({"event": event, "part": "launcher", **facts}) + "\n")
    sys.stderr.flush()


def brain_answers(url: str) -> bool:
    """Whether anything of the brain answers at all; any status will do."""
    import urllib.error  # asked for while a version is on trial alone, and a third of our memory
    import urllib.request

    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/health/live", timeout=3):  # noqa: S310
            return True
    except urllib.error.HTTPError as refused:
        return refused.code < 500
    except (OSError, ValueError):
        return False


def agent_env(root: Root, version: str) -> dict[str, str]:
    """What the agent finds: this host's environment, the agent's settings, where its code lies."""
    return {
        **os.environ,
        **root.env,
        "AGENT_HOME": str(root.home),
        "AGENT_ROOT": str(root.path),
        "AGENT_FILE": version,
        "PYTHONPATH": str(root.path / "versions" / version / "lib"),
        "PYTHONUNBUFFERED": "1",
    }


def _for_child() -> Callable[[], None]:
    """The agent ends with its launcher, and takes signals as usual."""
    library = ctypes.CDLL(None)

    def prepare() -> None:
        library.prctl(1, int(signal.SIGTERM), 0, 0, 0)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)

    return prepare


def _turn_log(root: Root) -> None:
    """Where no journal takes what is said: one older file is kept."""
    log = root.env.get("AGENT_LOG", "")
    with suppress(OSError):
        if log and os.stat(log).st_size > LOG_BYTES_MAX:
            shutil.copyfile(log, f"{log}.1")
            os.truncate(log, 0)


def main(arguments: list[str]) -> int:
    """The commands of ``ganglion-agent`` on a host."""
    root = Root(Path(__file__).resolve().parents[2])
    word, rest = (arguments[0], arguments[1:]) if arguments else ("status", [])
    if word.startswith("-"):
        word, rest = "agent", arguments
    if word == "run":
        return _run(root)
    if word == "start":
        return _start(root)
    if word == "stop":
        return _stop(root)
    if word == "status":
        return _status(root)
    if word == "agent":
        version = root.current()
        command = [sys.executable, "-s", "-P", "-m", "node_agent.main", *rest]
        return subprocess.run(command, env=agent_env(root, version), check=False).returncode
    sys.stderr.write("Use: ganglion-agent start|stop|status|run, or an option of the agent.\n")
    return 2


def _run(root: Root) -> int:
    lock = (root.path / "launcher.lock").open("a+b")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.stderr.write("A launcher runs here already.\n")
        return 1
    write(root.path / "launcher.pid", str(os.getpid()))
    try:
        return Launcher(root).run()
    finally:
        root.drop("launcher.pid")


def _start(root: Root) -> int:
    """Run in the background: for hosts without systemd."""
    if is_held(root.path / "launcher.lock"):
        return 0
    log = Path(root.env.get("AGENT_LOG") or "/var/log/ganglion-agent.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as output:
        subprocess.Popen(
            [sys.executable, "-s", "-P", "-m", "node_agent.launcher", "run"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**os.environ, "PYTHONPATH": str(root.path / "launcher")},
            cwd="/",
            start_new_session=True,
        )
    return 0


def _stop(root: Root) -> int:
    pid = read(root.path / "launcher.pid").strip()
    if not pid or not is_held(root.path / "launcher.lock"):
        return 0
    os.kill(int(pid), signal.SIGTERM)
    end = now() + STOP_SECONDS_MAX + 10
    while is_held(root.path / "launcher.lock"):
        if now() > end:
            sys.stderr.write(f"The agent does not stop; its launcher is process {pid}.\n")
            return 1
        signal.sigtimedwait(set(), 0.2)
    return 0


def _status(root: Root) -> int:
    """JSON on standard output; 0 while the agent runs."""
    runs = is_held(root.path / "launcher.lock") and is_held(root.home / "agent.lock")
    heard = None
    with suppress(OSError):
        heard = round(
            time.clock_gettime(time.CLOCK_REALTIME) - (root.home / "heard").stat().st_mtime
        )
    shown = {
        "running": runs,
        "version": root.current(),
        "trial": root.trial() is not None,
        "heard_seconds_ago": heard,
        "bad_versions": root.bad(),
    }
    sys.stdout.write(json.dumps(shown, indent=1) + "\n")
    return 0 if runs else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
