"""Where a demo plays: the run that is up, or one of its own on a folder that is thrown away."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cli.client import Brain
from cli.embedded.child import die_with_parent
from cli.faults import CliError
from cli.settings import CLONE, RunnerSettings
from cli.supervisor.environment import ADMIN_EMAIL, python_module
from cli.supervisor.home import Home

START_SECONDS_MAX = 120.0
STOP_SECONDS_MAX = 15.0
ENGINES = {"stand-in": "ganglion/stand-in", "vllm": "ganglion/tiny-random"}


@dataclass(frozen=True)
class Ground:
    """``own``: started for the demo, and stopped after it."""

    brain_url: str
    gateway_url: str
    home: Home
    own: bool

    def admin(self) -> Brain:
        """The API as this installation's administrator."""
        body = {"email": ADMIN_EMAIL, "password": self.home.secrets()["ADMIN_PASSWORD"]}
        with Brain(self.brain_url) as brain:
            token = brain.post("/auth/login", body)["access_token"]
        return Brain(self.brain_url, token=token)


@contextmanager
def ground(settings: RunnerSettings, engine: str) -> Iterator[Ground]:
    """The stand-in journey takes the run that is up; real vLLM needs an agent that knows it."""
    home = Home(settings.home)
    state = home.state() if home.is_held() else {}
    if engine == "stand-in" and state.get("phase") == "up":
        yield Ground(state["brain_url"], state["gateway_url"], home, own=False)
        return
    folder = Path(tempfile.mkdtemp(prefix="ganglion-demo-"))
    try:
        with _started(folder, engine_environment(engine)) as ready:
            yield Ground(ready["brain_url"], ready["gateway_url"], Home(folder), own=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def engine_environment(engine: str) -> dict[str, str]:
    """What the local agent must know for this engine. ``CliError`` where it was not fetched."""
    if engine != "vllm":
        return {}
    program = CLONE / ".parts" / "vllm" / "bin" / "vllm"
    models = CLONE / ".parts" / "models"
    if not program.exists() or not (models / "tiny-random").exists():
        raise CliError("Real vLLM is not here yet.", "Fetch it with: make parts (0.6 GB).")
    # The catalog's name of the model is ganglion/tiny-random; a worker's model must lie inside
    # the models' folder, and so it does through this link.
    link = models / "ganglion"
    if not link.exists():
        link.symlink_to(".", target_is_directory=True)
    return {"AGENT_VLLM": str(program), "AGENT_MODELS_DIR": str(models)}


@contextmanager
def _started(folder: Path, extra: Mapping[str, str]) -> Iterator[dict[str, str]]:
    """A run of ``ganglion up`` on free ports; it dies with this process, however that ends."""
    command = python_module(
        *("cli.main", "up", "--json", "--home", str(folder)),
        *("--brain-port", "0", "--gateway-port", "0"),
    )
    process = subprocess.Popen(
        command,
        env={
            **os.environ,
            "POD_FRONT_PORT": "0",
            "SSH_PORT": "0",
            **extra,
            "PYTHONPATH": str(CLONE),
        },
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=die_with_parent(signal.SIGTERM),  # noqa: PLW1509  one prctl call
    )
    try:
        yield _first_document(process)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS_MAX)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _first_document(process: subprocess.Popen[bytes]) -> dict[str, str]:
    """What ``up --json`` prints once it is up; its other words go to our standard error."""
    found: list[dict[str, str]] = []

    def read() -> None:
        assert process.stdout is not None, "opened as a pipe"
        text = ""
        for line in process.stdout:
            text += line.decode()
            if line.rstrip() == b"}":
                found.append(json.loads(text))
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    reader.join(START_SECONDS_MAX)
    if not found or "brain_url" not in found[0]:
        why = found[0].get("error", "") if found else ""
        sys.stderr.flush()
        raise CliError(f"The product did not start for the demo. {why}".strip(), "Try: ganglion up")
    return found[0]
