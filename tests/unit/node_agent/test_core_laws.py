"""Laws of the agent's core under any interleaving of brain, host, crashes and restarts."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kernel.clock import NS
from kernel.wire.agent import DesiredLease, DesiredState, LeaseSeenState, NvmlState
from node_agent import core
from node_agent.records import End, Phase, Start
from node_agent.report import Told, report
from tests.support.cases import cases
from tests.unit.node_agent.world import GPUS, World, lease

TTL = 60
pytestmark = [pytest.mark.feature("C5"), pytest.mark.feature("C4")]


class AnyInterleaving(RuleBasedStateMachine):
    """A brain that sells each GPU again as soon as it may, over a host that does its worst."""

    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.generation = 0
        self.epoch = 0
        self.wanted: dict[str, DesiredLease] = {}
        self.renewed_ns: dict[str, int] = {}
        self.newest_started: dict[str, int] = {}  # epoch by GPU

    @initialize(simulated=st.booleans())
    def a_stranger_works_here_too(self, simulated: bool) -> None:
        self.world.simulated = simulated
        self.foreign = self.world.put(lease(9000, "GPU-9"), installation="another brain")

    # The brain.

    @rule(gpus=st.sets(st.sampled_from(GPUS), min_size=1), look=st.booleans())
    def sell(self, gpus: set[str], look: bool) -> None:
        """The brain sells GPUs that it believes free; older leases for them are over for it."""
        self.epoch += 1
        new = lease(self.epoch, *sorted(gpus), ttl=TTL)
        for lease_id, old in list(self.wanted.items()):
            if set(old.gpu_uuids) & gpus:
                del self.wanted[lease_id]
        self.wanted[new.lease_id] = new
        self._send()
        if look:
            self.tick(finish=True)

    @precondition(lambda self: self.wanted)
    @rule(pick=st.integers(0, 100))
    def ask_stop(self, pick: int) -> None:
        lease_id = sorted(self.wanted)[pick % len(self.wanted)]
        old = self.wanted[lease_id]
        self.wanted[lease_id] = lease(old.epoch, *old.gpu_uuids, ttl=TTL, stop=True)
        self._send()

    @rule()
    def renew(self) -> None:
        self.world.renew(*self.wanted)
        self.renewed_ns |= dict.fromkeys(self.wanted, self.world.now_ns)

    @rule(gpus=st.sets(st.sampled_from(GPUS), min_size=1), epoch=st.integers(1, 30))
    def a_brain_from_a_backup_sells_again(self, gpus: set[str], epoch: int) -> None:
        """Its generation is newer, the lease's epoch may be one that was there before."""
        old = lease(8000 + self.generation, *sorted(gpus), epoch=epoch, ttl=TTL)
        self.generation += 1
        self.world.desire(self.generation, old)
        for _ in range(3):
            self.tick(finish=True)
        self.wanted.clear()
        self._send()

    @rule(back=st.integers(1, 5))
    def an_old_message_comes_late(self, back: int) -> None:
        before = self.world.state
        self.world.desire(max(self.generation - back, -1), lease(9001, *GPUS, epoch=10**6))
        assert self.world.state == before or self.generation == 0

    # The host.

    @rule(finish=st.booleans())
    def tick(self, finish: bool) -> None:
        for action in self.world.tick():
            if isinstance(action, Start):
                for uuid in action.lease.gpu_uuids:
                    assert action.lease.epoch >= self.newest_started.get(uuid, 0), "fenced"
                    assert not self.world.leftover.get(uuid), "someone computes there"
                    self.newest_started[uuid] = action.lease.epoch
            else:
                assert action.work.installation_id == "ours"
        self.one_work_a_gpu()
        for lease_id in sorted(self.world.jobs) if finish else ():
            self.world.finish(lease_id)

    @precondition(lambda self: self.world.jobs)
    @rule(pick=st.integers(0, 100))
    def finish(self, pick: int) -> None:
        self.world.finish(sorted(self.world.jobs)[pick % len(self.world.jobs)])

    @rule(pick=st.integers(0, 100))
    def crash(self, pick: int) -> None:
        ours = [w for w in self.world.works.values() if w.installation_id == "ours"]
        if ours:
            self.world.crash(ours[pick % len(ours)].ref)

    @rule(seconds=st.sampled_from([0.5, 5, 20, 61]))
    def time_passes(self, seconds: float) -> None:
        self.world.advance(seconds)

    @rule(trouble=st.sampled_from(["", "", "", "engine", "driver"]))
    def trouble(self, trouble: str) -> None:
        self.world.engine_ok = trouble != "engine"
        self.world.nvml = NvmlState.HUNG if trouble == "driver" else NvmlState.OK

    @rule()
    def agent_restarts(self) -> None:
        self.world.restart_agent()

    @rule(uuid=st.sampled_from(GPUS), processes=st.sampled_from([0, 0, 1]))
    def memory_leaks(self, uuid: str, processes: int) -> None:
        self.world.leftover[uuid] = processes

    # What always holds.

    @invariant()
    def others_use_is_told_of_free_gpus_alone(self) -> None:
        ours = {u for held in self.world.state.leases.values() for u in held.lease.gpu_uuids}
        for gpu in core.told_gpus(self.world.state, self.world.seen()):
            if gpu.foreign_use:
                assert gpu.uuid not in ours
                assert gpu.process_count, "a free one"

    @invariant()
    def one_work_a_gpu(self) -> None:
        held = [u for w in self.world.works.values() for u in w.gpu_uuids]
        jobs = [j for j in self.world.jobs.values() if isinstance(j, Start)]
        held += [uuid for job in jobs for uuid in job.lease.gpu_uuids]
        assert len(held) == len(set(held)), "two works hold one GPU"

    @invariant()
    def gone_means_gone(self) -> None:
        seen = self.world.seen()
        for line in report(self.world.state, seen, Told(), self.world.now_ns):
            if line.state is LeaseSeenState.GONE:
                assert seen.work_of(line.lease_id) is None
                assert line.lease_id not in self.world.jobs

    @invariant()
    def a_stranger_is_left_alone(self) -> None:
        assert self.foreign.ref in self.world.works

    def teardown(self) -> None:
        """A sound host and two minutes without the brain end everything of ours; or, with the
        brain, exactly what it wants and what did not fail runs."""
        world = self.world
        world.engine_ok, world.nvml, world.leftover = True, NvmlState.OK, {}
        for lease_id in list(world.jobs):
            world.finish(lease_id)
        world.heard = True
        self._send()
        world.advance(31)
        self.renew()
        world.settle()
        world.advance(31)
        self.renew()
        world.settle()
        assert world.running() == self._should_run()
        world.advance(TTL + 1)
        world.settle()
        assert world.running() == set()
        assert all(w.phase is Phase.RUNNING for w in world.works.values()), "nothing is left"

    def _should_run(self) -> set[str]:
        held = self.world.state.leases
        return {
            lease_id
            for lease_id, wanted in self.wanted.items()
            if wanted.state is DesiredState.RUN and not held[lease_id].ended
        }

    def _send(self) -> None:
        self.generation += 1
        self.world.desire(self.generation, *self.wanted.values())
        for lease_id in self.wanted:
            self.renewed_ns.setdefault(lease_id, self.world.now_ns)


AnyInterleaving.TestCase.settings = settings(
    max_examples=cases(150), stateful_step_count=40, deadline=None
)
TestAnyInterleaving = AnyInterleaving.TestCase


def test_an_ended_lease_is_the_only_reason_a_wanted_one_does_not_run() -> None:
    """The law above would be empty if leases ended for no reason: only these four are known."""
    world = World()
    world.desire(1, lease(1, "GPU-0", ttl=TTL))
    world.settle()
    assert world.running() == {"lease-1"}
    assert world.state.leases["lease-1"].ended == ""
    assert world.state.leases["lease-1"].deadline_ns == 1000 * NS + TTL * NS
    assert [type(action) for action in world.history] == [Start]
    world.desire(2)
    world.settle()
    assert [type(action) for action in world.history] == [Start, End]
