"""A real vLLM on the CPU with a tiny random model: ``vllm_server``, ``vllm_embedding_server`` and,
for long tests alone, ``vllm_speech_server`` and ``mortal_vllm``, which a test may kill.

One server of each kind lives in a run, started by whichever xdist worker asks first. A test that
asks for one has it for itself until its end, so that it may look at counters and gauges. In between
its processes stand still: idle they take a twentieth of a core.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import vllm_keeper
from tests.support.shared import ROOT, RUN_PID, locked
from tools import parts

PRODUCTS = {"installation", "product"}
SERVER_FIXTURES = {"vllm_server", "vllm_embedding_server", "vllm_speech_server", "mortal_vllm"}
ENDLESS = (
    *("--max-num-seqs", "8", "--override-generation-config", '{"temperature": 0}'),
    *("--max-model-len", "65536", "--hf-overrides", '{"max_position_embeddings": 65536}'),
    *("--kv-cache-memory-bytes", str(512 << 20)),
)
ENGINE = "VLLM::Engine"  # how its process calls itself, in as many letters as Linux keeps


@dataclass(frozen=True)
class VllmServer:
    """A running vLLM; ``start_seconds`` is the time until /health answered."""

    url: str
    model: str
    max_model_len: int
    start_seconds: float
    log: Path
    group: int  # of its processes

    def kill_engine(self) -> None:
        """Its engine dies, as one does that the kernel kills for its memory; its API is left."""
        found = []
        for path in Path("/proc").glob("[0-9]*/comm"):
            pid = int(path.parent.name)
            with suppress(OSError):  # it ends just now
                if path.read_text().startswith(ENGINE) and os.getpgid(pid) == self.group:
                    found.append(pid)
        [engine] = found
        os.kill(engine, signal.SIGKILL)


def pytest_itemcollected(item: pytest.Item) -> None:
    if SERVER_FIXTURES & set(getattr(item, "fixturenames", ())):
        item.add_marker(pytest.mark.real("vllm"))
        item.add_marker(pytest.mark.slow)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """One xdist worker has them all, but those of a product: others would only wait for them."""
    for item in items:
        asked = {mark.args[0] for mark in item.iter_markers("real")}
        if "vllm" in asked and not PRODUCTS & set(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.xdist_group("vllm"))


@pytest.fixture
def vllm_server(run_folder: Path) -> Iterator[VllmServer]:
    """vLLM serving ``tiny-random``: chat and completions."""
    with _mine("tiny-random", run_folder) as server:
        yield server


@pytest.fixture
def vllm_embedding_server(run_folder: Path) -> Iterator[VllmServer]:
    """vLLM serving ``tiny-random-embedding``: embeddings."""
    with _mine("tiny-random-embedding", run_folder) as server:
        yield server


@pytest.fixture
def vllm_speech_server(run_folder: Path) -> Iterator[VllmServer]:
    """vLLM serving ``tiny-random-speech``: transcriptions and translations."""
    with _mine("tiny-random-speech", run_folder) as server:
        yield server


@pytest.fixture
def mortal_vllm(tmp_path: Path) -> Iterator[VllmServer]:
    """``tiny-random`` in a server of the test's own, to be killed: eight answers at once, each the
    likeliest, which go on for as long as they may, and that is long."""
    with _mine("tiny-random", tmp_path, *ENDLESS) as server:
        yield server
        with suppress(ProcessLookupError):
            os.killpg(server.group, signal.SIGKILL)


def need_vllm() -> None:
    """Skip with the reason when vLLM is not here; fail when the run requires real parts."""
    reason = parts.why_missing("vllm")
    if reason and parts.is_required():
        pytest.fail(f"real vLLM is required: {reason}", pytrace=False)
    if reason:
        pytest.skip(f"real vLLM: {reason}")


@contextmanager
def _mine(model: str, folder: Path, *switches: str) -> Iterator[VllmServer]:
    need_vllm()
    with locked(folder, model):
        facts = folder / f"{model}.json"
        if not facts.exists():
            _start_keeper(model, folder, facts, switches)
        known = json.loads(facts.read_text())
        log, group = Path(known["log"]), known["group"]
        context, seconds = vllm_keeper.CONTEXTS[model], known["start_seconds"]
        os.killpg(group, signal.SIGCONT)
        try:
            yield VllmServer(known["url"], model, context, seconds, log, group)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(group, signal.SIGSTOP)


def _start_keeper(model: str, folder: Path, facts: Path, switches: tuple[str, ...]) -> None:
    failed = folder / f"{model}.failed"
    if failed.exists():
        pytest.fail(f"vLLM did not start before in this run: {failed.read_text()}", pytrace=False)
    program = (sys.executable, "-m", vllm_keeper.__name__)
    with (folder / f"{model}-keeper.log").open("wb") as log:
        keeper = subprocess.Popen(
            [*program, model, str(folder), os.environ[RUN_PID], *switches],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + vllm_keeper.START_SECONDS_MAX + 10
    while not facts.exists():
        if keeper.poll() is not None or time.monotonic() > deadline:
            said = (folder / f"vllm-{model}.log").read_text(errors="replace")[-3000:]
            failed.write_text(said)
            pytest.fail(f"vLLM did not start: {said}", pytrace=False)
        time.sleep(0.05)
    # It outlives this process on purpose; nobody here waits for it.
    keeper.returncode = 0
