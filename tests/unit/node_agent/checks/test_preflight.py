"""Points of an agent's look at its machine: what is fatal, what is shown, what is only told."""

from __future__ import annotations

from typing import Any

import pytest

from kernel.wire.agent import GpuReading, HostReading, NvmlState, Severity
from node_agent.checks.preflight import Facts, Hardened, Reached, points

pytestmark = pytest.mark.feature("C6")
HOST: dict[str, Any] = {
    "hostname": "host",
    "os": "Debian GNU/Linux 12 (bookworm)",
    "cpu_count": 16,
    "memory_total_mib": 65_536,
    "disk_total_mib": 500_000,
    "disk_free_mib": 200_000,
    "engine": "docker",
    "engine_version": "27.1",
    "driver_version": "550.54",
}


def gpu(**more: Any) -> GpuReading:
    return GpuReading(uuid="GPU-a", name="NVIDIA L4", memory_total_mib=23_034, **more)


def found(host: dict[str, Any] | None = None, **more: Any) -> dict[str, tuple[Severity, str]]:
    facts: dict[str, Any] = {
        "host": HostReading(**{**HOST, **(host or {})}),
        "nvml": NvmlState.OK,
        "gpus": [gpu()],
        "kernel": "6.1.0-18-amd64",
        "cgroup": 2,
        "toolkit": True,
        "disk_mib_s": 900.0,
        "hardening": [],
        **more,
    }
    return {point.name: (point.severity, point.said) for point in points(Facts(**facts))}


def test_a_good_machine_has_no_trouble() -> None:
    assert {severity for severity, _ in found().values()} == {Severity.OK}


@pytest.mark.parametrize(
    ("host", "more", "name"),
    [
        ({}, {"nvml": NvmlState.HUNG}, "gpus"),
        ({}, {"gpus": []}, "gpus"),
        ({"engine_version": None}, {}, "engine"),
        ({}, {"toolkit": False}, "toolkit"),
        ({"disk_free_mib": 5_000}, {}, "disk"),
    ],
)
def test_what_nothing_can_be_served_with_is_fatal(
    host: dict[str, Any], more: dict[str, Any], name: str
) -> None:
    assert found(host, **more)[name][0] is Severity.FATAL


@pytest.mark.parametrize(
    ("host", "more", "name", "said"),
    [
        ({}, {"gpus": [gpu(pcie_width=4, pcie_width_max=16)]}, "gpu 0", "PCIe x4 of x16"),
        ({}, {"gpus": [gpu(persistence=False)]}, "gpu 0", "persistence"),
        ({}, {"gpus": [gpu(rows_pending=True)]}, "gpu 0", "reset"),
        ({}, {"gpus": [gpu(recovery_action=2)]}, "gpu 0", "asks to restart the machine"),
        ({}, {"gpus": [gpu(power_limit_mw=40, power_default_limit_mw=72)]}, "gpu 0", "power"),
        ({}, {"gpus": [gpu(mig=True)]}, "gpu 0", "MIG"),
        ({}, {"disk_mib_s": 20.0}, "disk speed", "less than"),
        ({}, {"cgroup": 1}, "cgroup", "version 1"),
        ({}, {"kernel": "5.4.0-generic"}, "kernel", "5.4"),
        ({"memory_total_mib": 4_000}, {}, "memory", "3 GiB"),
        ({}, {"reached": [Reached("gateway g:1", "TimeoutError")]}, "reach gateway g:1", "Time"),
        ({}, {"inbound": ["0.0.0.0:9000"]}, "inbound", "listens"),
        ({}, {"hardening": [Hardened("metadata", False, "no rule")]}, "isolation metadata", "no"),
    ],
)
def test_what_serves_worse_is_shown(
    host: dict[str, Any], more: dict[str, Any], name: str, said: str
) -> None:
    severity, words = found(host, **more)[name]
    assert severity is Severity.WARN
    assert said in words


def test_half_of_the_lanes_is_enough_and_mixed_kinds_are_shown() -> None:
    assert "gpu 0" not in found(gpus=[gpu(pcie_width=8, pcie_width_max=16)])
    other = GpuReading(uuid="GPU-b", name="NVIDIA T4", memory_total_mib=15_360)
    assert found(gpus=[gpu(), other])["gpus"][0] is Severity.WARN


def test_a_clock_that_is_off_is_told_and_never_worse_than_that() -> None:
    severity, words = found(clock_offset_seconds=-3600.0)["clock"]
    assert (severity, "-3600 s" in words) == (Severity.INFO, True)
    assert found(clock_offset_seconds=0.4)["clock"][0] is Severity.OK


def test_what_is_not_known_is_said_to_be_so() -> None:
    assert found(hardening=None)["isolation"] == (Severity.INFO, "not known")
    simulated = [gpu(simulated=True)]
    plain = found({"engine": "process"}, gpus=simulated, toolkit=None)
    assert plain["engine"][0] is Severity.INFO


def test_small_changes_are_no_news() -> None:
    one = found({"disk_free_mib": 200_000}, disk_mib_s=900.0, clock_offset_seconds=0.3)
    other = found({"disk_free_mib": 198_000}, disk_mib_s=700.0, clock_offset_seconds=-0.2)
    assert one == other
