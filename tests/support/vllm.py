"""A real vLLM on the CPU with a tiny random model: ``vllm_server`` and ``vllm_embedding_server``.

One server of each kind lives in a run. Tests that use one are marked ``real`` and grouped by it,
so that xdist gives them all to one worker, which starts the server when its first test asks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from cli.embedded.child import die_with_parent
from tests.support.shared import ROOT
from tests.support.wait import free_port
from tools import parts, vllm_part

START_SECONDS_MAX = 240
STOP_SECONDS_MAX = 20
SERVER_FIXTURES = {"vllm_server": "vllm", "vllm_embedding_server": "vllm-embedding"}
CHAT_SWITCHES = ("--kv-cache-memory-bytes", "33554432", "--enable-auto-tool-choice")
CHAT_PARSER = ("--tool-call-parser", "hermes", "--enable-server-load-tracking")
# TORCHDYNAMO_DISABLE: else the first request with logprobs compiles C++ for 13 s, or dies of it
# where there is no compiler.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "TORCHDYNAMO_DISABLE": "1",
}


@dataclass(frozen=True)
class VllmServer:
    """A running vLLM; ``start_seconds`` is the time until /health answered."""

    url: str
    model: str
    max_model_len: int
    start_seconds: float
    log: Path
    process: subprocess.Popen[bytes]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for fixture in sorted(SERVER_FIXTURES.keys() & set(getattr(item, "fixturenames", ()))):
            item.add_marker(pytest.mark.real("vllm"))
            item.add_marker(pytest.mark.xdist_group(SERVER_FIXTURES[fixture]))


def need_vllm() -> None:
    """Skip with the reason when vLLM is not here; fail when the run requires real parts."""
    reason = parts.why_missing("vllm")
    if reason and parts.is_required():
        pytest.fail(f"real vLLM is required: {reason}", pytrace=False)
    if reason:
        pytest.skip(f"real vLLM: {reason}")


@pytest.fixture(scope="session")
def vllm_server(run_folder: Path) -> Iterator[VllmServer]:
    """vLLM serving ``tiny-random``: chat and completions."""
    need_vllm()
    with running_vllm("tiny-random", run_folder, *CHAT_SWITCHES, *CHAT_PARSER) as server:
        yield server


@pytest.fixture(scope="session")
def vllm_embedding_server(run_folder: Path) -> Iterator[VllmServer]:
    """vLLM serving ``tiny-random-embedding``: embeddings."""
    need_vllm()
    with running_vllm("tiny-random-embedding", run_folder, "--runner", "pooling") as server:
        yield server


@contextmanager
def running_vllm(model: str, folder: Path, *switches: str) -> Iterator[VllmServer]:
    """Start one and wait for its health; stopped, with its children, at the end."""
    port = free_port()
    command = [str(vllm_part.HOME / "bin" / "vllm"), "serve", str(vllm_part.MODELS / model)]
    command += ["--served-model-name", model, "--host", "127.0.0.1", "--port", str(port)]
    command += ["--dtype", "bfloat16", "--max-model-len", "512", "--max-num-seqs", "4"]
    command += ["--enforce-eager", *switches]
    log = folder / f"vllm-{model}.log"
    started = time.monotonic()
    with log.open("wb") as sink:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env=_environment(),
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )
    try:
        url = f"http://127.0.0.1:{port}"
        _until_healthy(url, process, log)
        yield VllmServer(url, model, 512, time.monotonic() - started, log, process)
    finally:
        _stop(process)


def _environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
    path = f"{vllm_part.HOME / 'bin'}:{os.environ.get('PATH', '')}"
    return {**kept, **ENVIRONMENT, "PATH": path}


def _until_healthy(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    raise RuntimeError(f"vLLM did not start: {log.read_text(errors='replace')[-3000:]}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """vLLM can wait for ever for open streams after SIGTERM: its whole session is killed then."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS_MAX)
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        return
    process.wait(STOP_SECONDS_MAX)
