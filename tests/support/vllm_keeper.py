"""Keeps one vLLM for a whole test run:
``python -m tests.support.vllm_keeper MODEL FOLDER PID [SWITCH …]``.

Its own process, because the xdist worker that asks first may end first. It writes the server's
address to FOLDER/MODEL.json once it is healthy, and ends it when the run's first process (PID)
is gone, however that went.
"""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import httpx

from cli.embedded.child import die_with_parent
from tests.support.shared import ROOT
from tests.support.wait import free_port
from tools import vllm_part

START_SECONDS_MAX = 240
STOP_SECONDS_MAX = 5
SWITCHES = {
    "tiny-random": ("--enable-auto-tool-choice", "--tool-call-parser", "hermes"),
    "tiny-random-embedding": ("--runner", "pooling"),
    "tiny-random-speech": (),
}
CONTEXTS = {"tiny-random": 4096, "tiny-random-embedding": 512, "tiny-random-speech": 448}
# TORCHDYNAMO_DISABLE: else the first request with logprobs compiles C++ for 13 s, or fails where
# there is no compiler.
ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "TORCHDYNAMO_DISABLE": "1",
    # One thread, on no core of its own: else the engine's spinning threads keep its API process
    # from running on a small machine, and a whole answer comes in one burst at its end.
    "OMP_NUM_THREADS": "1",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
}


def keep(model: str, folder: Path, pid: int, switches: Sequence[str] = ()) -> None:
    """Start the server, tell its address, and hold it until ``pid`` ends."""
    watched = os.pidfd_open(pid)
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    log = folder / f"vllm-{model}.log"
    started = time.monotonic()
    process = _start(model, port, log, switches)
    try:
        _until_healthy(url, process, watched)
        seconds = time.monotonic() - started
        facts = {"url": url, "start_seconds": seconds, "log": str(log), "group": process.pid}
        pending = folder / f"{model}.json.new"
        pending.write_text(json.dumps(facts))
        pending.rename(folder / f"{model}.json")
        select.select([watched], [], [])
    finally:
        _stop(process)


def _start(model: str, port: int, log: Path, switches: Sequence[str]) -> subprocess.Popen[bytes]:
    command = [str(vllm_part.HOME / "bin" / "vllm"), "serve", str(vllm_part.MODELS / model)]
    command += ["--served-model-name", model, "--host", "127.0.0.1", "--port", str(port)]
    command += [
        "--dtype",
        "bfloat16",
        "--max-model-len",
        str(CONTEXTS[model]),
        "--max-num-seqs",
        "4",
    ]
    command += ["--enforce-eager", "--kv-cache-memory-bytes", "33554432"]
    command += ["--enable-server-load-tracking", *SWITCHES[model], *switches]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VLLM_")}
    path = f"{vllm_part.HOME / 'bin'}:{os.environ.get('PATH', '')}"
    with log.open("wb") as sink:
        return subprocess.Popen(
            command,
            cwd=ROOT,
            env={**kept, **ENVIRONMENT, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=sink,
            start_new_session=True,
            preexec_fn=die_with_parent(),
        )


def _until_healthy(url: str, process: subprocess.Popen[bytes], watched: int) -> None:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise SystemExit(f"vLLM ended with {process.returncode}")
        with suppress(httpx.TransportError):
            if httpx.get(f"{url}/health", timeout=5).status_code == 200:
                return
        if select.select([watched], [], [], 0.1)[0]:
            raise SystemExit("the test run is over")
    raise SystemExit(f"vLLM was not healthy after {START_SECONDS_MAX} s")


def _stop(process: subprocess.Popen[bytes]) -> None:
    """vLLM can wait for ever for open streams after SIGTERM: its whole session is killed then."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGCONT)
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(STOP_SECONDS_MAX)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    keep(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:])
