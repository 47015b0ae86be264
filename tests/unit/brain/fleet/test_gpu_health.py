"""Which readings make a GPU degraded or bad, and that a verdict is stable from beat to beat."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from brain.fleet.gpu_health import XIDS, Level, judge, unhealthy
from kernel.gpu import THROTTLE_WORDS, compute_mode_word, throttle_words
from kernel.wire.agent import GpuReading

pytestmark = pytest.mark.feature("C3")


def gpu(**told: Any) -> GpuReading:
    return GpuReading(uuid="GPU-a", name="card", memory_total_mib=81_559, **told)


@pytest.mark.parametrize(
    ("told", "level", "word"),
    [
        ({}, Level.OK, ""),
        ({"xids": {13: 4, 31: 1, 43: 2, 45: 1}}, Level.OK, ""),
        ({"xids": {63: 1}}, Level.DEGRADED, "XID 63"),
        ({"xids": {74: 1}}, Level.DEGRADED, "XID 74"),
        ({"xids": {94: 1}}, Level.DEGRADED, "XID 94"),
        ({"xids": {48: 1}}, Level.BAD, "XID 48"),
        ({"xids": {64: 1}}, Level.BAD, "XID 64"),
        ({"xids": {79: 1}}, Level.BAD, "fell off the bus"),
        ({"xids": {95: 1}}, Level.BAD, "XID 95"),
        ({"rows_failed": True}, Level.BAD, "could not be remapped"),
        ({"rows_pending": True}, Level.DEGRADED, "wait to be remapped"),
        ({"pages_pending": True}, Level.DEGRADED, "wait to be retired"),
        ({"ecc_uncorrected": 1}, Level.BAD, "uncorrectable"),
        ({"ecc_uncorrected": 1, "rows_pending": False}, Level.DEGRADED, "uncorrectable"),
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
