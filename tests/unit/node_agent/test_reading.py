"""What is read from workers, containers and the host: pure parts of the hands."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.clock import ManualClock
from node_agent.containers import options
from node_agent.containers.options import (
    Place,
    Rules,
    exit_reason,
    host_options,
    wanted_devices,
    work_of,
)
from node_agent.containers.pull import PullCount
from node_agent.engine import Order
from node_agent.gpu import SimulatedGpus, is_simulated, simulated_uuid
from node_agent.probe import read_gauges
from node_agent.records import Phase
from tests.unit.node_agent.world import lease

VLLM = """
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="a b"} 3.0
vllm:num_requests_running{engine="1",model_name="a b"} 2.0
vllm:num_requests_waiting 7
vllm:kv_cache_usage_perc{engine="0"} 0.25
vllm:num_requests_waiting_by_reason{reason="x"} 99
vllm:kv_cache_usage_perc{engine="1"} NaN
python_gc_objects_collected_total 1
"""
INFO = """
vllm:cache_config_info{block_size="16",cache_dtype="auto",enable_prefix_caching="True",%s} 1.0
"""


@pytest.mark.parametrize(
    ("labels", "tokens"),
    [
        ('kv_cache_size_tokens="41000",num_gpu_blocks="2600"', 41_000),
        ('kv_cache_size_tokens="None",num_gpu_blocks="2600"', 41_600),
        ('num_gpu_blocks="2600"', 41_600),
        ('num_gpu_blocks="None"', 0),
        ('num_gpu_blocks="%s"' % ("9" * 400), 0),
    ],
)
def test_the_room_in_the_cache_is_read_from_labels(labels: str, tokens: int) -> None:
    assert read_gauges((INFO % labels).splitlines()) == {"kv_cache_tokens": tokens}


def order(*gpus: str, simulated: bool = False) -> Order:
    return Order(lease(1, *gpus), "installation", simulated)


def listed(**changed: Any) -> dict[str, Any]:
    return {
        "Id": "c1",
        "State": "running",
        "Labels": options.labels(order("GPU-a", "GPU-b")),
        "Ports": [{"PrivatePort": 8000, "PublicPort": 49153, "IP": "127.0.0.1", "Type": "tcp"}],
        **changed,
    }


def test_gauges_are_summed_over_engines() -> None:
    assert read_gauges(VLLM.splitlines()) == {
        "vllm:num_requests_running": 5.0,
        "vllm:num_requests_waiting": 7.0,
        "vllm:kv_cache_usage_perc": 0.25,
    }


@given(st.lists(st.text()))
def test_no_metrics_page_breaks_the_reader(lines: list[str]) -> None:
    assert set(read_gauges(["vllm:num_requests_waiting" + line for line in lines])) <= {
        "vllm:num_requests_waiting"
    }


@pytest.mark.feature("C4")
def test_a_container_is_read_back_as_it_was_ordered() -> None:
    work = work_of(listed(), "")
    assert work is not None
    assert (work.lease_id, work.epoch, work.installation_id) == ("lease-1", 1, "installation")
    assert (work.gpu_uuids, work.port, work.ttl_seconds) == ({"GPU-a", "GPU-b"}, 49153, 60)
    assert work.phase is Phase.RUNNING


@pytest.mark.parametrize("labels", [None, {}, {"ganglion.lease": "x"}])
def test_a_container_without_our_labels_is_not_ours_to_read(labels: dict[str, str] | None) -> None:
    assert work_of(listed(Labels=labels), "") is None


@pytest.mark.parametrize(
    ("state", "phase"),
    [("created", Phase.CREATED), ("paused", Phase.RUNNING), ("dead", Phase.EXITED)],
)
def test_states_of_docker_are_three_phases(state: str, phase: Phase) -> None:
    work = work_of(listed(State=state, Ports=[]), "why")
    assert work is not None
    assert (work.phase, work.exit_reason) == (phase, "" if phase is Phase.RUNNING else "why")


@pytest.mark.feature("C4")
def test_gpus_are_asked_for_by_uuid_and_simulated_ones_not_at_all() -> None:
    assert wanted_devices(order("GPU-a", "GPU-b")) == ["GPU-a", "GPU-b"]
    assert wanted_devices(order("SIM-a", simulated=True)) == []


def test_no_option_gives_the_host_away() -> None:
    given = host_options(order("GPU-a"), Rules(), Place("net", {}), "runsc")
    assert given["runtime"] == "runsc"
    assert {"binds", "cap_add", "devices", "pid_mode", "userns_mode"} & set(given) == set()


def test_an_exit_is_told_in_words() -> None:
    assert "16 MiB" in exit_reason({"OOMKilled": True}, 16)
    assert exit_reason({"ExitCode": 2, "Error": ""}, 0).endswith("exit code 2.")


def test_a_pull_is_summed_over_its_layers() -> None:
    count = PullCount()
    mib = 1 << 20
    lines = [
        {"id": "a", "status": "Downloading", "progressDetail": {"current": mib, "total": 4 * mib}},
        {"id": "b", "status": "Downloading", "progressDetail": {"current": 0, "total": 2 * mib}},
        {"status": "Pulling from x"},
        {"id": "b", "status": "Download complete", "progressDetail": {}},
    ]
    assert [count.take(line) for line in lines] == [(1, 4), (1, 6), (1, 6), (3, 6)]


async def test_simulated_gpus_are_the_same_again_and_other_on_another_node() -> None:
    clock = ManualClock()
    views = [
        await SimulatedGpus(3, seed=seed, boot_ns=clock.monotonic_ns).read()
        for seed in ("node a", "node a", "node b")
    ]
    ours, again, theirs = ({gpu.uuid for gpu in view.gpus} for view in views)
    assert ours == again
    assert len(ours | theirs) == 6
    assert all(gpu.simulated and gpu.name.startswith("Simulated") for gpu in views[0].gpus)
    assert is_simulated(simulated_uuid("node a", 0))
