"""Running work whose GPUs go, or that breaks its limits: seen, told with the reason, acted on."""

from __future__ import annotations

import pytest

from kernel.wire.agent import LeaseSeenState, NvmlState
from node_agent import core
from node_agent.containers.gpus import trouble
from node_agent.records import Trouble
from tests.unit.node_agent.world import World, lease

S = LeaseSeenState
pytestmark = pytest.mark.feature("C4")
SHOWN = "GPU 0: NVIDIA H200 (UUID: GPU-a)\nGPU 1: NVIDIA H200 (UUID: GPU-b)\n"


@pytest.fixture
def world() -> World:
    world = World()
    world.desire(1, lease(1, "GPU-0"))
    world.settle()
    return world


@pytest.mark.parametrize(("gone", "says"), [("away", "vanished"), ("fallen", "fell off the bus")])
def test_a_gpu_that_goes_under_running_work_ends_it(world: World, gone: str, says: str) -> None:
    getattr(world, gone).add("GPU-0")
    world.settle()
    assert world.running() == {"lease-1"}  # one reading may be wrong
    world.advance(11)
    world.settle()
    assert world.running() == set()
    told = world.told("lease-1")
    assert told.state is S.FAILED
    assert "GPU-0" in told.reason
    assert says in told.reason


def test_a_gpu_that_comes_back_is_forgiven(world: World) -> None:
    world.away.add("GPU-0")
    world.settle()
    world.away.clear()
    world.advance(11)
    world.settle()
    world.away.add("GPU-0")
    world.settle()
    assert world.told("lease-1").state is S.READY


@pytest.mark.parametrize("state", [NvmlState.HUNG, NvmlState.ABSENT])
def test_without_nvml_running_work_goes_on(world: World, state: NvmlState) -> None:
    world.nvml = state
    world.away.update(("GPU-0", "GPU-1", "GPU-2"))
    for _ in range(3):
        world.advance(11)
        world.settle()
    assert world.running() == {"lease-1"}


def test_a_container_that_lost_its_gpus_is_replaced(world: World) -> None:
    (before,) = world.works
    world.gpu_trouble["lease-1"] = Trouble(before, "Its container lost its GPUs.")
    world.settle()
    world.advance(2)
    world.settle()
    (after,) = world.works
    assert after != before
    assert world.state.leases["lease-1"].restarts == 1
    assert world.told("lease-1").state is S.READY


def test_an_old_runs_trouble_is_not_the_new_ones(world: World) -> None:
    (before,) = world.works
    world.gpu_trouble["lease-1"] = Trouble("an older run", "It was broken.")
    world.settle()
    assert set(world.works) == {before}


def test_work_over_its_limit_ends_with_the_reason(world: World) -> None:
    (ref,) = world.works
    world.breaches["lease-1"] = Trouble(ref, "It wrote 900 MiB, and may write 100 MiB.")
    world.settle()
    assert (world.running(), world.told("lease-1").state) == (set(), S.FAILED)
    assert "may write 100 MiB" in world.told("lease-1").reason


def test_the_time_to_become_ready_begins_after_the_pull() -> None:
    world = World()
    world.desire(1, lease(1, "GPU-0", ttl=10_000))
    world.tick()
    world.advance(290)  # of 300: the pull
    world.finish("lease-1")
    world.state = core.started(world.state, "lease-1", world.now_ns)
    (ref,) = world.works
    world.unhealthy.add(ref)
    world.advance(200)
    world.settle()
    assert world.told("lease-1").state is S.LOADING
    world.advance(101)
    world.settle()
    assert world.told("lease-1").state is S.FAILED


@pytest.mark.parametrize(
    ("code", "shown", "says"),
    [
        (0, SHOWN, ""),
        (127, "not found", ""),
        (126, "", ""),
        (None, "", ""),
        (255, "Failed to initialize NVML: Unknown Error", "Failed to initialize NVML"),
        (0, SHOWN.replace("GPU-b", "GPU-x"), "lost GPU GPU-b"),
        (0, "No devices found.", "lost GPU GPU-a"),
    ],
)
def test_what_the_driver_says_inside_is_read(code: int | None, shown: str, says: str) -> None:
    found = trouble({"GPU-a", "GPU-b"}, code, shown)
    assert bool(found) == bool(says)
    assert says in found
