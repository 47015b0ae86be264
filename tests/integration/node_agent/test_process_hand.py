"""The process hand with real processes: records, adoption, whole groups ended."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
from msgspec.structs import replace

from kernel.clock import SystemClock
from node_agent.engine import Order, StartRefused, log_path
from node_agent.engine_process import ProcessEngine, ProcessPlaces, ProcessRecord
from node_agent.records import Phase, Work
from node_agent.report import Progress
from tests.support.agent_brain import lease_of
from tests.support.agent_process import kill_workers, workers
from tests.support.wait import until

pytestmark = pytest.mark.feature("C4")
SLEEP = ["{python}", "-c", "import signal; signal.pause()"]
MakeEngine = Callable[..., ProcessEngine]


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    kill_workers(tmp_path)


@pytest.fixture
def engine_for(home: Path) -> MakeEngine:
    """A hand over the same records, as the next agent process has it."""

    def make(boot: str = "boot-1") -> ProcessEngine:
        places = ProcessPlaces(vllm="/opt/vllm", models=home / "models")
        return ProcessEngine(home, host_boot_id=boot, clock=SystemClock(), places=places)

    return make


def order(process: list[str], **launch: Any) -> Order:
    return Order(lease_of(["GPU-a"], process=process, **launch), "installation", False)


async def started(engine: ProcessEngine, wanted: Order) -> Work:
    await engine.start(wanted, Progress())
    (work,) = await engine.look()
    return work


async def test_the_next_agent_finds_the_process(engine_for: MakeEngine) -> None:
    work = await started(engine_for(), order(SLEEP))
    assert work.phase is Phase.RUNNING
    assert await engine_for().look() == (work,)


async def test_a_start_that_the_agent_did_not_live_to_write_down_is_found(
    engine_for: MakeEngine, home: Path
) -> None:
    work = await started(engine_for(), order(SLEEP))
    path = home / work.lease_id / "work.json"
    record = msgspec.json.decode(path.read_bytes(), type=ProcessRecord)
    path.write_bytes(msgspec.json.encode(replace(record, pid=0, start_ticks=0)))
    assert await engine_for().look() == (work,)


async def test_another_process_with_the_same_pid_is_not_ours(
    engine_for: MakeEngine, home: Path
) -> None:
    work = await started(engine_for(), order(SLEEP))
    path = home / work.lease_id / "work.json"
    record = msgspec.json.decode(path.read_bytes(), type=ProcessRecord)
    path.write_bytes(msgspec.json.encode(replace(record, pid=os.getpid())))
    (seen,) = await engine_for().look()
    assert seen.phase is Phase.EXITED
    await engine_for().end(seen, 0)
    assert await engine_for().look() == ()


async def test_a_record_of_another_boot_names_no_process(
    engine_for: MakeEngine, home: Path
) -> None:
    work = await started(engine_for(), order(SLEEP))
    (seen,) = await engine_for("boot-2").look()
    assert seen.phase is Phase.EXITED
    await engine_for("boot-2").end(seen, 0)
    (bystander,) = workers(home)  # it was of this boot after all, and was not signalled
    assert bystander.pid == int(work.ref.partition(":")[0])


CHILD_STAYS = (
    "import subprocess, sys\n"
    "subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
)


async def test_children_that_outlive_their_leader_are_ended_too(
    engine_for: MakeEngine, home: Path
) -> None:
    engine = engine_for()
    await engine.start(order(["{python}", "-c", CHILD_STAYS]), Progress())

    async def leader_ended() -> Work | None:
        (work,) = await engine.look()
        return work if work.phase is Phase.EXITED else None

    work = await until(leader_ended)
    assert work is not None
    assert len(workers(home)) == 1
    await engine.end(work, 0)
    assert workers(home) == []


DETACHED = (
    "import os, signal\n"
    "if os.fork() == 0:\n"
    "    os.setsid()\n"
    "    signal.pause()\n"
    "print('up', flush=True)\n"
    "signal.pause()\n"
)


async def test_a_child_that_left_the_group_is_ended_too(engine_for: MakeEngine, home: Path) -> None:
    engine = engine_for()
    work = await started(engine, order(["{python}", "-c", DETACHED]))
    await until(lambda: "up" in log_path(home, work.lease_id).read_text())
    await engine.end(work, 0)
    assert workers(home) == []


async def test_a_drain_lets_work_finish(engine_for: MakeEngine, home: Path) -> None:
    finish = (
        "import signal, sys\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('drained', flush=True), sys.exit(0)))\n"
        "print('up', flush=True)\n"
        "signal.pause()\n"
    )
    engine = engine_for()
    work = await started(engine, order(["{python}", "-c", finish]))
    output = log_path(home, work.lease_id)
    await until(lambda: "up" in output.read_text())
    await engine.end(work, 20)
    assert output.read_text().splitlines() == ["up", "drained"]


async def test_an_exit_is_told_with_code_or_signal(engine_for: MakeEngine) -> None:
    engine = engine_for()
    work = await started(engine, order(SLEEP))
    os.kill(int(work.ref.partition(":")[0]), signal.SIGKILL)

    async def reason() -> str:
        (seen,) = await engine.look()
        return seen.exit_reason

    assert await until(reason) == "The process was ended by SIGKILL."


async def test_placeholders_are_filled(engine_for: MakeEngine, home: Path) -> None:
    show = "import sys, json; print(json.dumps(sys.argv[1:]))"
    asked = ["{vllm}", "{model_path}", "--port={port}", "--served-model-name", "a/b"]
    work = await started(engine_for(), order(["{python}", "-c", show, *asked]))
    output = log_path(home, work.lease_id)
    printed = await until(lambda: output.read_text().strip())
    vllm, model, port, *_ = msgspec.json.decode(printed)
    assert (vllm, model, port) == ("/opt/vllm", str(home / "models/a/b"), f"--port={work.port}")


async def test_a_worker_knows_nothing_of_the_agents_environment(
    engine_for: MakeEngine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOIN_TOKEN", "secret")
    await started(engine_for(), order(SLEEP))
    (worker,) = workers(home)
    assert "JOIN_TOKEN" not in worker.environ()
    assert worker.environ()["CUDA_VISIBLE_DEVICES"] == "GPU-a"
    assert psutil.Process(worker.pid).cwd().startswith(str(home))


@pytest.mark.parametrize(
    ("process", "words"),
    [
        ([], "no process form"),
        (["/no/such/program"], "cannot be started here: No such file"),
        (["{vllm}", "--served-model-name", "../../etc", "{model_path}"], "leads out of"),
    ],
)
async def test_what_cannot_start_is_refused_and_leaves_nothing(
    engine_for: MakeEngine, process: list[str], words: str
) -> None:
    engine = engine_for()
    with pytest.raises(StartRefused, match=words):
        await engine.start(order(process), Progress())
    assert await engine.look() == ()


async def test_an_end_may_be_repeated(engine_for: MakeEngine) -> None:
    engine = engine_for()
    work = await started(engine, order([sys.executable, "-c", "pass"]))
    await engine.end(work, 1)
    await engine.end(work, 1)
    assert await engine.look() == ()
