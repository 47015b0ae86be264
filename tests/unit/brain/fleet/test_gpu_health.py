"""Which readings make a GPU degraded or bad, and that a verdict is stable from beat to beat."""

from __future__ import annotations

from typing import Any

import pynvml
import pytest
from hypothesis import given
from hypothesis import strategies as st

import kernel.gpu
from brain.fleet.gpu_health import XIDS, Level, judge, unhealthy
from kernel.gpu import (
    COMPUTE_MODES,
    RECOVERY_ACTIONS,
    THROTTLE_WORDS,
    compute_mode_word,
    throttle_words,
)
from kernel.wire.agent import GpuReading

pytestmark = pytest.mark.feature("C3")


def gpu(**told: Any) -> GpuReading:
    return GpuReading(uuid="GPU-a", name="card", memory_total_mib=81_559, **told)


@pytest.mark.parametrize(
    ("told", "level", "word"),
    [
        ({}, Level.OK, ""),
        ({"xids": {79: 1}}, Level.BAD, "fell off the bus"),
        ({"recovery_action": 0}, Level.OK, ""),
        ({"recovery_action": 1}, Level.BAD, "asks to reset the GPU"),
        ({"recovery_action": 2}, Level.BAD, "asks to restart the machine"),
        ({"recovery_action": 3}, Level.BAD, "peer-to-peer"),
        ({"recovery_action": 4}, Level.BAD, "drain and reset"),
        ({"recovery_action": 99}, Level.BAD, "action 99"),
        ({"rows_failed": True}, Level.BAD, "could not be remapped"),
        ({"rows_pending": True}, Level.DEGRADED, "wait to be remapped"),
        ({"pages_pending": True}, Level.DEGRADED, "wait to be retired"),
        ({"ecc_uncorrected": 1}, Level.BAD, "uncorrectable"),
        ({"ecc_uncorrected": 1, "rows_pending": False}, Level.BAD, "uncorrectable"),
        ({"ecc_uncorrected": 1, "recovery_action": 0}, Level.DEGRADED, "uncorrectable"),
        ({"ecc_uncorrected": 1, "xids": {94: 1}}, Level.DEGRADED, "uncorrectable"),
        ({"ecc_uncorrected": 1, "xids": {94: 1, 95: 1}}, Level.BAD, "uncorrectable"),
        ({"throttle_reasons": 0x20}, Level.DEGRADED, "heat"),
        ({"throttle_reasons": 0x40}, Level.DEGRADED, "heat"),
        ({"throttle_reasons": 0x80}, Level.DEGRADED, "power supply"),
        ({"throttle_reasons": 0x5}, Level.OK, ""),
        ({"mig": True}, Level.BAD, "MIG"),
        ({"compute_mode": 2}, Level.BAD, "prohibits"),
    ],
)
def test_what_a_driver_tells_and_what_it_means(
    told: dict[str, Any], level: Level, word: str
) -> None:
    found = judge(gpu(**told))
    assert found.level is level
    assert word in "; ".join(found.reasons)
    assert bool(unhealthy(gpu(**told))) == (level is Level.BAD)


# NVIDIA's Xid Catalog, column "Immediate Action"; number by number, as the page has them.
RESET_OR_RESTART = (46, 48, 62, 64, 79, 95, 110, 119, 120, 136, 140, 143, 151, 155, 156, 158)
TOLD = (54, 63, 74, 92, 94, 109, 144, 145, 146, 147, 148, 149, 150, 157)
OF_PROGRAMS = (8, 11, 13, 25, 31, 32, 37, 38, 39, 43, 44, 45, 60, 66, 67, 68, 69, 80, 82, 96, 126)
NOTHING_OF_THE_CARD = (93, 106, 107, 108, 121, 137, 141, 154, 160, 161)


@pytest.mark.parametrize(
    ("numbers", "level"),
    [
        (RESET_OR_RESTART, Level.BAD),
        (TOLD, Level.DEGRADED),
        (OF_PROGRAMS, Level.OK),
        (NOTHING_OF_THE_CARD, Level.OK),
    ],
)
def test_what_each_xid_means_is_what_nvidias_catalog_says(
    numbers: tuple[int, ...], level: Level
) -> None:
    assert {number: judge(gpu(xids={number: 1})).level for number in numbers} == dict.fromkeys(
        numbers, level
    )


def test_every_xid_of_the_table_is_in_one_of_those_rows() -> None:
    assert set(XIDS) == {*RESET_OR_RESTART, *TOLD}


def test_the_numbers_are_those_of_nvidias_own_binding() -> None:
    names = {
        "GPU_IDLE": "GpuIdle",
        "POWER_CAP": "SwPowerCap",
        "HW_SLOWDOWN": "HwSlowdown",
        "SW_THERMAL_SLOWDOWN": "SwThermalSlowdown",
        "HW_THERMAL_SLOWDOWN": "HwThermalSlowdown",
        "HW_POWER_BRAKE": "HwPowerBrakeSlowdown",
    }
    theirs = {
        name: getattr(pynvml, f"nvmlClocksEventReason{their}") for name, their in names.items()
    }
    assert {name: getattr(kernel.gpu, name) for name in names} == theirs
    assert sum(THROTTLE_WORDS) == pynvml.nvmlClocksThrottleReasonAll
    assert COMPUTE_MODES[pynvml.NVML_COMPUTEMODE_PROHIBITED] == "prohibited"
    asked = [name for name in dir(pynvml) if name.startswith("NVML_GPU_RECOVERY_ACTION_")]
    assert sorted(getattr(pynvml, name) for name in asked) == list(range(len(RECOVERY_ACTIONS)))


def test_the_worst_is_said_first() -> None:
    found = judge(gpu(xids={63: 1, 95: 1}, throttle_reasons=0x40))
    assert found.level is Level.BAD
    assert "XID 95" in found.reasons[0]
    assert len(found.reasons) == 3


@given(st.dictionaries(st.sampled_from(sorted(XIDS)), st.integers(1, 9), min_size=1))
def test_a_counter_that_rises_does_not_change_what_is_written_down(xids: dict[int, int]) -> None:
    more = {number: count + 1 for number, count in xids.items()}
    assert unhealthy(gpu(xids=xids)) == unhealthy(gpu(xids=more))


def test_a_lost_gpu_is_lost_and_nothing_more() -> None:
    assert unhealthy(gpu(xids={79: 1}, lost=True)) == ""


@given(st.integers(0, 2**16))
def test_every_bit_of_the_throttle_reasons_has_a_word(bits: int) -> None:
    assert len(throttle_words(bits)) == bits.bit_count()
    assert len(set(throttle_words(sum(THROTTLE_WORDS)))) == len(THROTTLE_WORDS)


def test_a_compute_mode_that_is_not_known_is_told_by_its_number() -> None:
    assert compute_mode_word(None) is None
    assert (compute_mode_word(0), compute_mode_word(9)) == ("default", "mode 9")
