"""The fake cloud is one cloud for every process, and its machines outlive who rented them."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from brain.adapters.clouds.fake import FakeCloud, Pace
from brain.adapters.clouds.fake.programs import MARK
from brain.clouds import Boot, MachineState, Order, OutcomeUnknown
from kernel.clock import SystemClock
from tests.integration.brain.adapters import rent_fake
from tests.support.shared import ROOT
from tests.support.wait import until

pytestmark = pytest.mark.feature("B4")
NOTHING_DONE = Boot("exec sleep 600\n")
SECONDS_MAX = 60  # a machine's watch looks every two, on a machine that may be busy


@pytest.fixture
def cloud(tmp_path: Path) -> Iterator[FakeCloud]:
    made = FakeCloud(tmp_path / "fake", SystemClock(), pace=Pace(boot=0, end=0))
    yield made
    made.end_all()


async def rented_elsewhere(cloud_folder: Path, tag: str, script: str) -> str:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", rent_fake.__name__, str(cloud_folder), tag, script),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    return said.decode().strip()


def processes(tmp_path: Path) -> list[psutil.Process]:
    """Everything that runs on a machine of this test's cloud."""
    found = []
    for process in psutil.process_iter():
        try:
            environment = process.environ()
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
        if MARK in environment and str(tmp_path) in environment.get("HOME", ""):
            found.append(process)
    return found


async def test_a_machine_outlives_the_process_that_rented_it(
    cloud: FakeCloud, tmp_path: Path
) -> None:
    # It flees into a session of its own, as an agent's workers do.
    script = "setsid sleep 601 &\nexec sleep 600\n"
    machine = await rented_elsewhere(tmp_path / "fake", "gng-1", script)
    (seen,) = (await cloud.listing()).machines
    assert (seen.machine_id, seen.tag, seen.state) == (machine, "gng-1", MachineState.RUNNING)
    await until(lambda: len(processes(tmp_path)) >= 2, SECONDS_MAX)
    await cloud.terminate(machine)
    await until(lambda: not processes(tmp_path), SECONDS_MAX)
    await until(lambda: _is_empty(cloud), SECONDS_MAX)


async def test_an_end_touches_no_machine_of_another_fake_cloud(
    cloud: FakeCloud, tmp_path: Path
) -> None:
    other = FakeCloud(tmp_path / "other", SystemClock(), pace=Pace(boot=0, end=0))
    for one in (cloud, other):
        made = await one.create(Order("gng-1", (await one.offers())[0], NOTHING_DONE))
        await one.listing()
    await other.terminate(made.machine_id)
    await until(lambda: _is_empty(other), SECONDS_MAX)
    (seen,) = (await cloud.listing()).machines
    assert (seen.machine_id, seen.state) == (made.machine_id, MachineState.RUNNING)
    assert processes(tmp_path)


async def _is_empty(cloud: FakeCloud) -> bool:
    return not (await cloud.listing()).machines


async def test_machines_of_a_cloud_that_nobody_asks_end(cloud: FakeCloud, tmp_path: Path) -> None:
    machine = await rented_elsewhere(tmp_path / "fake", "gng-1", "exec sleep 600\n")
    await until(lambda: processes(tmp_path), SECONDS_MAX)
    os.utime(tmp_path / "fake" / "lock", (1, 1))
    await until((tmp_path / "fake" / "machines" / machine / "exit").exists, SECONDS_MAX)
    await until(lambda: not processes(tmp_path), SECONDS_MAX)
    (seen,) = (await cloud.listing()).machines
    assert seen.state in {MachineState.STOPPED, MachineState.FAILED}


async def test_processes_that_rent_at_once_share_what_there_is(
    cloud: FakeCloud, tmp_path: Path
) -> None:
    told = await asyncio.gather(
        *(rented_elsewhere(tmp_path / "fake", f"gng-{n}", "exec sleep 600") for n in range(6))
    )
    made = [one for one in told if one.startswith("fake-")]
    assert len(set(made)) == len(made) == 4
    assert {one.machine_id for one in (await cloud.listing()).machines} == set(made)
    assert [one.key for one in await cloud.offers()] == ["two"]


async def test_a_fault_that_one_process_met_is_met_once(cloud: FakeCloud, tmp_path: Path) -> None:
    cloud.fail("create:lost*1")
    assert await rented_elsewhere(tmp_path / "fake", "gng-1", "true") == OutcomeUnknown.__name__
    assert [one.tag for one in await cloud.find_by_tag("gng-1")] == ["gng-1"]
    offers = await cloud.offers()
    assert (await cloud.create(Order("gng-2", offers[0], NOTHING_DONE))).tag == "gng-2"


async def test_its_secrets_are_on_its_own_disk_alone(cloud: FakeCloud, tmp_path: Path) -> None:
    offers = await cloud.offers()
    boot = Boot("exec sleep 600\n", {"JOIN_TOKEN": "TOKENh8Zp4Rk1"})
    made = await cloud.create(Order("gng-1", offers[0], boot))
    holding = [
        path.relative_to(tmp_path / "fake").as_posix()
        for path in (tmp_path / "fake").rglob("*")
        if path.is_file() and b"TOKENh8Zp4Rk1" in path.read_bytes()
    ]
    assert holding == [f"machines/{made.machine_id}/boot.json"]
    assert (tmp_path / "fake" / holding[0]).stat().st_mode & 0o077 == 0
    assert (tmp_path / "fake").stat().st_mode & 0o077 == 0
