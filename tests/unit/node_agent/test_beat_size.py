"""A beat of a large machine stays small, whatever its GPUs have to tell."""

from __future__ import annotations

import pytest

from kernel.wire import decode, encode
from kernel.wire.agent import Beat, GpuReading, GpuSpans, HostReading, NvmlState, Span

pytestmark = pytest.mark.feature("C3")
BYTES_MAX = 4 << 10


def told_all(number: int) -> GpuReading:
    """Every field as a busy H100 with a past would tell it."""
    span = Span(2, 163_118, 80_559, 81_559)
    return GpuReading(
        uuid=f"GPU-{number:08d}-8c41-4d5e-9f10-2b3c4d5e6f70",
        name="NVIDIA H100 80GB HBM3",
        memory_total_mib=81_559,
        memory_used_mib=79_402,
        memory_reserved_mib=551,
        utilisation_percent=100,
        memory_utilisation_percent=87,
        temperature_c=71,
        memory_temperature_c=83,
        power_mw=698_213,
        power_limit_mw=700_000,
        power_default_limit_mw=700_000,
        energy_mj=1_234_567_890_123,
        sm_clock_mhz=1755,
        sm_clock_max_mhz=1980,
        memory_clock_mhz=2619,
        memory_clock_max_mhz=2619,
        throttle_reasons=4,
        ecc=True,
        ecc_corrected=3,
        ecc_uncorrected=1,
        ecc_corrected_ever=17,
        ecc_uncorrected_ever=2,
        rows_remapped_corrected=1,
        rows_remapped_uncorrected=1,
        rows_pending=True,
        rows_failed=True,
        xids={13: 4, 31: 2, 63: 1, 94: 1},
        xid_last=94,
        pcie_generation=5,
        pcie_generation_max=5,
        pcie_width=16,
        pcie_width_max=16,
        pcie_rx_kib_s=12_345_678,
        pcie_tx_kib_s=2_345_678,
        pcie_replays=2,
        persistence=True,
        compute_mode=0,
        mig=False,
        process_count=2,
        our_memory_mib=79_000,
        foreign_memory_mib=0,
        spans=GpuSpans(span, span, span, span, span),
        recovery_action=4,
    )


def beat(gpus: int) -> Beat:
    host = HostReading(hostname="host-17", os="Ubuntu 24.04.1 LTS", cpu_count=192)
    readings = [told_all(number) for number in range(gpus)]
    return Beat("node_" + "1" * 32, "boot", 7, NvmlState.OK, readings, host, [])


def test_eight_gpus_that_tell_everything_fit_in_a_small_beat() -> None:
    body = encode(beat(8))
    print(f"a beat of 8 GPUs that tell everything: {len(body):,} bytes")
    assert len(body) <= BYTES_MAX
    assert decode(body, Beat) == beat(8)
