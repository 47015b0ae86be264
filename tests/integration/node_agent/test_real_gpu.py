"""The GPUs of this machine as the agent tells them, beside what their driver's own program says.

Where there are none this is skipped with its reason, also where real parts are required.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from kernel.wire.agent import GpuReading, NvmlState
from node_agent.gpu_nvml import NvmlGpus
from tests.support.agent_brain import AgentBrain
from tests.support.agent_process import agent_at
from tests.support.wait import until

pytestmark = [pytest.mark.feature("C3"), pytest.mark.real("gpu")]
FIELDS = ("uuid", "name", "driver_version", "memory.total", "temperature.gpu")
MIB_ROUNDED, DEGREES_BETWEEN = 1, 20  # between two readings of a card that may be at work
DEGREES_C = range(1, 120)
SMI_SECONDS_MAX = NVML_SECONDS_MAX = 60  # without a persistent driver it is loaded by the question

Card = dict[str, str]


def ask_smi() -> tuple[list[Card], str]:
    """What ``nvidia-smi`` says of each GPU; or none, and why."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return [], "there is no nvidia-smi"
    asked = [program, f"--query-gpu={','.join(FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        ran = subprocess.run(asked, capture_output=True, text=True, timeout=SMI_SECONDS_MAX)
    except (subprocess.TimeoutExpired, OSError) as error:
        return [], f"nvidia-smi: {error}"
    if ran.returncode:
        return [], f"nvidia-smi: {(ran.stdout + ran.stderr).strip()[:200]}"
    lines = csv.reader(ran.stdout.splitlines(), skipinitialspace=True)
    cards = [dict(zip(FIELDS, line, strict=True)) for line in lines if line]
    return cards, "" if cards else "nvidia-smi lists none"


@pytest.fixture(scope="module")
def cards() -> dict[str, Card]:
    """By UUID."""
    found, reason = ask_smi()
    if not found:
        pytest.skip(f"no NVIDIA GPU on this machine: {reason}")
    return {card["uuid"]: card for card in found}


def assert_told(reading: GpuReading, card: Card) -> None:
    assert not reading.simulated
    assert not reading.lost
    assert reading.name == card["name"]
    assert abs(reading.memory_total_mib - int(card["memory.total"])) <= MIB_ROUNDED
    assert 0 <= reading.memory_used_mib <= reading.memory_total_mib
    assert reading.memory_total_mib > 0
    # In instances (MIG) a card as a whole has no utilisation.
    assert reading.mig or reading.utilisation_percent in range(101)
    if not card["temperature.gpu"].isdigit():  # a virtual one has none
        assert reading.temperature_c is None
        return
    assert reading.temperature_c in DEGREES_C
    assert abs(reading.temperature_c - int(card["temperature.gpu"])) <= DEGREES_BETWEEN


async def test_the_child_reads_of_real_gpus_what_their_driver_says(cards: dict[str, Card]) -> None:
    gpus = NvmlGpus(boot_ns=time.monotonic_ns, seconds_max=NVML_SECONDS_MAX)
    try:
        view = await gpus.read()
    finally:
        await gpus.close()
    assert (view.state, view.reason) == (NvmlState.OK, "")
    assert {view.driver_version} == {card["driver_version"] for card in cards.values()}
    assert sorted(reading.uuid for reading in view.gpus) == sorted(cards)
    for reading in view.gpus:
        assert_told(reading, cards[reading.uuid])


async def test_the_first_beat_shows_real_gpus_as_what_they_are(
    cards: dict[str, Card], brain: AgentBrain, tmp_path: Path
) -> None:
    # Where the driver's library lies elsewhere, the agent is told so as this process was.
    where = {k: v for k, v in os.environ.items() if k == "LD_LIBRARY_PATH"}
    told = {"SIMULATE_GPUS": "0", "NVML_SECONDS_MAX": str(NVML_SECONDS_MAX), **where}
    with agent_at(tmp_path / "agent", brain.url, **told):
        await until(lambda: brain.beats, 2 * NVML_SECONDS_MAX)
    first = brain.beats[0]
    assert first.nvml is NvmlState.OK
    assert sorted(reading.uuid for reading in first.gpus) == sorted(cards)
    for reading in first.gpus:
        assert_told(reading, cards[reading.uuid])
