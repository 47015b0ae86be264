"""What the agent does next, case by case."""

from __future__ import annotations

import pytest

from kernel.wire.agent import LeaseSeenState, NvmlState
from node_agent import core
from node_agent.judging import RESTARTS_MAX, UNHEALTHY_SECONDS_MAX
from node_agent.records import End, Start
from tests.unit.node_agent.world import World, lease

S = LeaseSeenState
pytestmark = pytest.mark.feature("C5")


@pytest.fixture
def world() -> World:
    return World()


def test_the_ttl_counts_from_before_the_renewal_was_sent(world: World) -> None:
    sent = world.now_ns
    world.desire(1, lease(1, "GPU-0", ttl=60))
    world.settle()
    world.advance(50)
    world.state = core.renew(world.state, ["lease-1"], sent)  # its answer took 50 s
    world.advance(10)
    world.settle()
    assert world.running() == set()


def test_a_renewal_never_shortens_a_lease(world: World) -> None:
    world.desire(1, lease(1, "GPU-0"))
    deadline = world.state.leases["lease-1"].deadline_ns
    world.state = core.renew(world.state, ["lease-1"], world.now_ns - 10**12)
    assert world.state.leases["lease-1"].deadline_ns == deadline


def test_an_ended_lease_is_not_renewed_back_to_life(world: World) -> None:
    world.desire(1, lease(1, "GPU-0", ttl=60))
    world.advance(61)
    world.tick()
    world.renew("lease-1")
    world.settle()
    assert world.running() == set()
    assert world.told("lease-1").state is S.GONE


def test_a_lower_generation_changes_nothing(world: World) -> None:
    world.desire(5, lease(1, "GPU-0"))
    before = world.state
    world.desire(4)
    assert world.state is before


def test_gpus_are_locked_all_or_nothing(world: World) -> None:
    world.desire(1, lease(1, "GPU-1"), lease(2, "GPU-0", "GPU-2"))
    world.settle()
    world.desire(2, lease(1, "GPU-1"), lease(3, "GPU-0", "GPU-1"))
    # Lease 1 is fenced by 3, and lease 2 is dropped; 3 waits until both its GPUs are free.
    assert [type(action) for action in world.tick()] == [End, End]
    world.finish("lease-1")
    assert world.tick() == []
    world.settle()
    assert world.running() == {"lease-3"}


def test_leases_on_other_gpus_live_side_by_side(world: World) -> None:
    world.desire(1, lease(7, "GPU-0"), lease(2, "GPU-1"))
    world.settle()
    assert world.running() == {"lease-7", "lease-2"}


def test_a_reboot_holds_no_lease_and_remembers_epochs(world: World) -> None:
    world.desire(1, lease(5, "GPU-0"))
    world.state = core.reboot(world.state, "boot-2")
    assert world.state.generation == 0
    world.desire(1, lease(5, "GPU-0"))
    world.settle()
    assert world.told("lease-5").state is S.GONE
    world.desire(2, lease(4, "GPU-0"))
    assert world.told("lease-4").state in (S.FAILED, S.STOPPING)


def test_the_same_boot_is_no_reboot(world: World) -> None:
    world.desire(1, lease(5, "GPU-0"))
    assert core.reboot(world.state, "boot-1") is world.state


def test_unknown_work_waits_for_the_brains_first_word(world: World) -> None:
    world.put(lease(1, "GPU-0", ttl=60))
    world.heard = False
    assert world.tick() == []
    world.desire(1, lease(1, "GPU-0"))
    world.settle()
    assert world.history == []  # adopted


def test_unknown_work_does_not_wait_longer_than_its_ttl(world: World) -> None:
    world.put(lease(1, "GPU-0", ttl=60))
    world.heard = False
    world.advance(61)
    assert [type(action) for action in world.tick()] == [End]


def test_unknown_work_is_ended_once_the_brain_has_spoken(world: World) -> None:
    world.put(lease(1, "GPU-0"))
    world.desire(1)
    (action,) = world.tick()
    assert isinstance(action, End)
    assert action.why == core.NO_LEASE


def test_work_of_another_epoch_is_replaced(world: World) -> None:
    world.put(lease(1, "GPU-0", epoch=1))
    world.desire(1, lease(1, "GPU-0", epoch=2))
    world.settle()
    assert [type(action) for action in world.history] == [End, Start]
    assert {work.epoch for work in world.works.values()} == {2}


def test_nothing_is_decided_while_the_engine_is_away(world: World) -> None:
    world.desire(1, lease(1, "GPU-0"))
    world.engine_ok = False
    assert world.tick() == []
    assert world.told("lease-1").state is S.STARTING


def test_an_engine_that_is_away_is_no_evidence(world: World) -> None:
    world.desire(1, lease(1, "GPU-0"))
    world.settle()
    world.engine_ok = False
    world.desire(2, lease(1, "GPU-0", stop=True))
    world.works.clear()  # it cannot be seen
    world.tick()
    assert world.told("lease-1").state is S.STOPPING


def test_a_hung_driver_starts_nothing_and_frees_nothing(world: World) -> None:
    world.desire(1, lease(1, "GPU-0"))
    world.settle()
    world.nvml = NvmlState.HUNG
    world.desire(2, lease(1, "GPU-0", stop=True), lease(2, "GPU-1"))
    world.settle()
    assert world.running() == set()
    assert world.told("lease-1").reason.startswith("Its work is gone; NVML hangs")
    assert world.told("lease-2").reason.startswith("NVML hangs")


def test_a_drain_is_cut_by_the_leases_end(world: World) -> None:
    world.desire(1, lease(1, "GPU-0", ttl=60))
    world.settle()
    world.advance(50)
    world.desire(2, lease(1, "GPU-0", ttl=60, stop=True))
    (action,) = world.tick()
    assert isinstance(action, End)
    assert 14 < action.drain_seconds < 15.1  # 10 s are left of the lease, and 5 s beyond


def test_an_expired_lease_has_hardly_a_drain(world: World) -> None:
    world.desire(1, lease(1, "GPU-0", ttl=60))
    world.settle()
    world.advance(61)
    (action,) = world.tick()
    assert isinstance(action, End)
    assert action.drain_seconds == core.EXPIRY_DRAIN_SECONDS


def test_a_crash_waits_longer_each_time_and_ends_in_failed(world: World) -> None:
    world.desire(1, lease(1, "GPU-0", ttl=6000))
    for _ in range(RESTARTS_MAX + 1):
        world.settle(2)
        (work,) = world.works.values()
        world.crash(work.ref)
        world.settle(2)
        world.advance(31)
    world.settle()
    line = world.told("lease-1")
    assert (line.state, line.restarts) == (S.FAILED, RESTARTS_MAX)
    assert line.reason == "It ended 6 times within 10 min: It crashed."


def test_what_ended_while_the_agent_was_away_starts_again_at_once(world: World) -> None:
    """A product stopped and started again by hand, more often than a crash loop would bear."""
    world.desire(1, lease(1, "GPU-0", ttl=6000))
    for _ in range(RESTARTS_MAX + 2):
        world.settle(2)
        (work,) = world.works.values()
        world.crash(work.ref)
        world.restart_agent()
        world.settle(3)
        assert world.told("lease-1").state is S.READY
    assert world.told("lease-1").restarts == 0


def test_crashes_far_apart_are_no_loop(world: World) -> None:
    world.desire(1, lease(1, "GPU-0", ttl=60_000))
    for _ in range(3 * RESTARTS_MAX):
        world.settle(2)
        (work,) = world.works.values()
        world.crash(work.ref)
        world.settle(2)
        world.advance(300)
    world.settle()
    assert world.running() == {"lease-1"}
    assert world.told("lease-1").restarts == 3 * RESTARTS_MAX


def test_a_failed_lease_is_gone_once_the_brain_lets_it_go(world: World) -> None:
    world.desire(1, lease(1, "GPU-0"))
    world.state = core.starting(world.state, "lease-1", world.now_ns)
    world.state = core.start_failed(
        world.state, "lease-1", "No such image.", permanent=True, now_ns=world.now_ns
    )
    world.settle()
    assert world.told("lease-1").state is S.FAILED
    world.desire(2, lease(1, "GPU-0", stop=True))
    world.settle()
    assert world.told("lease-1").state is S.GONE


def test_a_worker_that_never_becomes_ready_fails(world: World) -> None:
    world.desire(1, lease(1, "GPU-0", ttl=6000))
    world.unhealthy.add("ref-1")
    world.settle()
    assert world.told("lease-1").state is S.LOADING
    world.advance(301)
    world.settle()
    assert world.told("lease-1").reason == "It was not ready after 300 s."


def test_a_ready_worker_that_stops_answering_is_replaced(world: World) -> None:
    world.desire(1, lease(1, "GPU-0", ttl=6000))
    world.settle()
    health = world.seen().health["lease-1"]
    world.unhealthy.add("ref-1")
    world.advance(UNHEALTHY_SECONDS_MAX + 1)
    seen = world.seen()
    old = type(health)(health.ref, False, health.since_ns)
    judged = core.judge(
        world.state, type(seen)(**{**vars(seen), "health": {"lease-1": old}}), world.now_ns
    )
    assert judged.leases["lease-1"].condemned_ref == "ref-1"
    world.state = judged
    assert [type(action) for action in world.tick()] == [End]


def test_one_slow_health_answer_is_no_change(world: World) -> None:
    world.desire(1, lease(1, "GPU-0"))
    world.settle()
    world.unhealthy.add("ref-1")
    assert world.told("lease-1").state is S.READY


def test_a_lease_is_forgotten_after_the_brain_dropped_it_and_was_told(world: World) -> None:
    world.desire(1, lease(1, "GPU-0"))
    world.settle()
    world.state = core.forget(world.state, ["lease-1"])
    assert "lease-1" in world.state.leases
    world.desire(2)
    world.settle()
    assert world.told("lease-1").state is S.GONE
    world.state = core.forget(world.state, ["lease-1"])
    assert world.state.leases == {}


def test_what_waits_says_what_for(world: World) -> None:
    world.put(lease(9, "GPU-0"), installation="another brain")
    world.desire(1, lease(1, "GPU-0"))
    world.settle()
    assert world.told("lease-1").reason == "GPU GPU-0 is still held by other work."


def test_a_gpu_that_is_not_here_fails_the_lease(world: World) -> None:
    world.desire(1, lease(1, "GPU-77"))
    world.settle()
    line = world.told("lease-1")
    assert (line.state, line.reason) == (S.FAILED, "GPU GPU-77 is not on this node.")
