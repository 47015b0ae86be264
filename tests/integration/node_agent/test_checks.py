"""The check's own process: it works, refuses, obeys its limits, and dies at once when told."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from kernel.clock import SystemClock
from kernel.wire.agent import (
    BeatAnswer,
    CheckOrder,
    CheckRefusal,
    CheckSample,
    CheckStage,
    CheckTold,
    DesiredLease,
    DesiredSet,
    DesiredState,
    LaunchSpec,
)
from node_agent.checks.extra import Checks
from node_agent.checks.runner import CODE_ROOT, ChildRunner, docker_arguments
from node_agent.gpu import simulated_uuid
from tests.support.fleet import host
from tests.support.vllm import need_vllm
from tests.support.wait import until
from tools.vllm_part import HOME as VLLM_HOME

pytestmark = pytest.mark.feature("C6")
GPU = simulated_uuid("test", 0)
SAMPLE = CheckSample(blocks=[(0, 3), (4, 20)], product=1, rows=[5])


def order(check_id: str = "check_a", gpu_uuid: str = GPU, **more: Any) -> CheckOrder:
    asked: dict[str, Any] = {"matrix": (64, 128, 64), "products": 2, "seconds_max": 60, **more}
    return CheckOrder(
        check_id=check_id,
        gpu_uuid=gpu_uuid,
        seed="11" * 32,
        blocks=30,
        block_bytes=16_384,
        readings=4,
        **asked,
    )


@pytest.fixture
async def checks() -> AsyncIterator[Checks]:
    clock = SystemClock()
    made = Checks(ChildRunner(), clock, clock.monotonic_ns, node_id="node", host_boot_id="boot")
    yield made
    await made.close()


def told(checks: Checks) -> list[CheckTold]:
    from kernel.wire.agent import Beat, NvmlState

    beat = Beat("node", "boot", 0, NvmlState.SIMULATED, [], host(), [])
    checks.tell(beat)
    return beat.checks


async def stage(checks: Checks, wanted: CheckStage) -> CheckTold:
    def check() -> CheckTold | None:
        found = told(checks)
        return found[0] if found and found[0].stage is wanted else None

    return await until(check, 60)


async def test_a_check_goes_through_all_its_stages_in_a_child_process(checks: Checks) -> None:
    rings = []
    checks.ring = lambda: rings.append(1)
    checks.hear(BeatAnswer(1, checks=[order()]), 0)
    first = await stage(checks, CheckStage.COMMITTED)
    assert (len(first.readings), len(first.products)) == (4, 2)
    checks.hear(BeatAnswer(1, checks=[order(recall="22" * 32)]), 0)
    assert (await stage(checks, CheckStage.RECALLED)).recall
    checks.hear(BeatAnswer(1, checks=[order(recall="22" * 32, sample=SAMPLE)]), 0)
    last = await stage(checks, CheckStage.OPENED)
    assert (len(last.blocks), len(last.rows)) == (2, 1)
    assert len(rings) == 3
    checks.hear(BeatAnswer(1), 0)
    assert told(checks) == []


def leased(uuid: str) -> BeatAnswer:
    launch = LaunchSpec(engine="standin", image="", arguments=[])
    lease = DesiredLease("lease", 1, [uuid], 600, DesiredState.RUN, launch)
    return BeatAnswer(1, desired=DesiredSet(1, [lease]), checks=[order(products=200)])


async def test_a_claim_ends_a_check_at_once_and_its_process_is_gone(checks: Checks) -> None:
    checks.hear(BeatAnswer(1, checks=[order(products=200)]), 0)
    child = await until(lambda: children(), 20)
    checks.hear(leased(GPU), 0)
    assert told(checks) == []
    await until(lambda: not children() & child, 10)
    checks.hear(BeatAnswer(1, checks=[order(products=200)]), 0)
    assert told(checks) == []  # still leased: it does not begin again


async def test_work_that_takes_too_long_is_refused(checks: Checks) -> None:
    checks.hear(BeatAnswer(1, checks=[order(products=200, seconds_max=1)]), 0)
    refused = await stage(checks, CheckStage.REFUSED)
    assert refused.refusal is CheckRefusal.FAILED
    await until(lambda: not children(), 10)


async def test_more_than_the_twins_room_is_refused_for_want_of_room(checks: Checks) -> None:
    big = order()
    big.blocks = 5000
    checks.hear(BeatAnswer(1, checks=[big]), 0)
    assert (await stage(checks, CheckStage.REFUSED)).refusal is CheckRefusal.NO_ROOM


async def test_a_real_gpu_without_means_is_said_to_be_so(checks: Checks) -> None:
    checks.hear(BeatAnswer(1, checks=[order(gpu_uuid="GPU-1")]), 0)
    refused = await stage(checks, CheckStage.REFUSED)
    assert refused.refusal is CheckRefusal.NOT_ABLE


def test_a_real_gpu_is_checked_in_a_container_that_can_do_nothing_else() -> None:
    said = " ".join(docker_arguments(order(gpu_uuid="GPU-1", image="vllm/vllm-openai")))
    for wanted in (
        "--network none",
        "--read-only",
        "--cap-drop ALL",
        "no-new-privileges",
        "--gpus device=GPU-1",
        f"{CODE_ROOT}:/ganglion:ro",
        "--entrypoint timeout vllm/vllm-openai 180 python3 -m node_agent.checks.child cuda 60",
    ):
        assert wanted in said
    assert "privileged " not in said.replace("no-new-privileges", "")


def children() -> set[int]:
    """Check processes that this process started."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            parts = entry.read_text().rsplit(")", 1)[1].split()
            line = (entry.parent / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if int(parts[1]) == os.getpid() and b"node_agent.checks.child" in line:
            found.add(int(entry.parent.name))
    return found


def test_the_childs_code_needs_the_standard_library_alone() -> None:
    """It runs in an image that has nothing of ours: no site packages, no environment."""
    line = {
        "do": "work",
        "key": "11" * 32,
        "blocks": 2,
        "block_bytes": 64,
        "readings": 1,
        "products": 1,
        "rows": 2,
        "inner": 64,
        "columns": 64,
    }
    done = subprocess.run(
        [sys.executable, "-S", "-E", "-c", RUN, str(CODE_ROOT), "cpu", "60"],
        input=json.dumps(line) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert len(json.loads(done.stdout)["readings"]) == 1


RUN = (
    "import sys; sys.path.insert(0, sys.argv.pop(1));"
    "from node_agent.checks.child import main; main()"
)


SAME = """
import sys
sys.path.insert(0, sys.argv[1])
from node_agent.checks.cpu import CpuKernel
from node_agent.checks.cuda import CudaKernel
from node_agent.checks.work import Work

line = {"key": "ab" * 32, "blocks": 20, "block_bytes": 4096, "readings": 2, "products": 2}
line |= {"rows": 32, "inner": 128, "columns": 64}
shown = {"blocks": [(0, 3), (2, 19)], "product": 1, "rows": [1, 31]}
said = []
for kernel in (CpuKernel(1 << 20), CudaKernel("cpu")):
    work = Work(kernel, line, lambda: 0)
    said.append([work.commit(), work.recall("cd" * 32), work.open(shown)])
print("same" if said[0] == said[1] else said)
"""


@pytest.mark.slow
@pytest.mark.real("vllm")
def test_the_kernel_for_gpus_gives_the_twins_values() -> None:
    """In the torch of the worker image, on the CPU: the code of a GPU, but for the device."""
    need_vllm()
    done = subprocess.run(
        [str(VLLM_HOME / "bin" / "python"), "-c", SAME, str(CODE_ROOT)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.strip() == "same", done.stderr[-2000:]


async def test_ending_the_agent_ends_its_checks(checks: Checks) -> None:
    running = asyncio.create_task(checks.run())
    checks.hear(BeatAnswer(1, checks=[order(products=200)]), 0)
    await until(lambda: children(), 20)
    running.cancel()
    await asyncio.wait((running,), timeout=10)
    await until(lambda: not children(), 10)


async def test_an_agent_that_ends_begins_no_check_that_a_last_beat_asks_for(
    checks: Checks,
) -> None:
    """It would be broken off while its process starts, and hold the agent up until its deadline."""
    await checks.close()
    checks.hear(BeatAnswer(1, checks=[order()]), 0)
    assert told(checks) == []
