"""Folders of the host that models' containers see: for development, read-only, never a pod's."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernel.errors import BadInput
from kernel.wire.agent import DesiredLease, DesiredState, LaunchSpec
from node_agent import settings
from node_agent.containers.options import Place, Rules, arguments, host_options
from node_agent.engine import Order

RULES = Rules(worker_folders=("/opt/engine", "/opt/models"), models="/opt/models")
SPEC = LaunchSpec(
    engine="vllm",
    image="i",
    arguments=["--model", "{model_path}", "--served-model-name", "org/tiny", "--port", "{port}"],
)


def order(spec: LaunchSpec) -> Order:
    lease = DesiredLease("lease_1", 1, ["GPU-a"], 600, DesiredState.RUN, spec)
    return Order(lease, "installation", simulated=True)


def read(**given: str) -> tuple[str, ...]:
    return settings.read({name.upper(): text for name, text in given.items()}, {}).engine_folders


def test_they_are_for_simulated_gpus_alone(tmp_path: Path) -> None:
    assert read(agent_engine_mounts=str(tmp_path), simulate_gpus="1") == (str(tmp_path),)
    assert read() == ()
    with pytest.raises(BadInput, match="SIMULATE_GPUS"):
        read(agent_engine_mounts=str(tmp_path))


@pytest.mark.parametrize("folder", ["/", "engine", "/no/such/folder", "/tmp:/etc"])
def test_only_folders_of_this_host(folder: str) -> None:
    with pytest.raises(BadInput, match="names no folder"):
        read(agent_engine_mounts=folder, simulate_gpus="1")


def test_a_model_sees_them_read_only_and_finds_its_files() -> None:
    mounts = host_options(order(SPEC), RULES, Place("net", {}), None)["mounts"]
    assert [(one["Source"], one["Target"], one["ReadOnly"]) for one in mounts] == [
        ("/opt/engine", "/opt/engine", True),
        ("/opt/models", "/opt/models", True),
    ]
    assert arguments(SPEC, RULES)[1] == "/opt/models/tiny"


def test_a_pod_sees_none_of_them() -> None:
    pod = LaunchSpec(engine="pod", image="i", arguments=["{model_path}"])
    assert "mounts" not in host_options(order(pod), RULES, Place("net", {}), None)
    assert arguments(pod, RULES) == ["{model_path}"]


def test_without_them_nothing_is_filled_in() -> None:
    assert arguments(SPEC, Rules())[1] == "{model_path}"
