"""The agent is killed at seeded moments of starts, pulls and ends: all is adopted, nothing twice.

And the reaper: what is not this installation's, or not a lease's, is never touched.
"""

from __future__ import annotations

import asyncio
import json
import random
import signal
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from kernel.wire.agent import DesiredLease, DesiredState, LeaseSeen, SecretsAnswer
from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess
from tests.support.docker_hand import docker_hand, pod, running
from tests.support.dockerd import remove_all, remove_networks
from tests.support.folders import contents
from tests.support.registry import dammed, padded, registry_in
from tests.support.wait import stretch, until
from tests.support.worker_image import BUSYBOX, busybox_image

pytestmark = [pytest.mark.feature("C4"), pytest.mark.real("dockerd")]
SEEDS = (1, 2, 3)
KILLS = 5
LEASES = 4
OBEDIENT = "trap 'exit 0' TERM; while true; do sleep 0.1; done"  # ends at the first word


@pytest.fixture
def agent(
    brain: AgentBrain, dockerd: str, engine_client: docker.APIClient, tmp_path: Path
) -> Iterator[AgentProcess]:
    busybox_image(engine_client)
    brain.installation_id = f"installation-{tmp_path.parent.name}-{tmp_path.name}"
    agent = AgentProcess(
        tmp_path / "agent",
        brain.url,
        AGENT_ENGINE="docker",
        DOCKER_HOST=dockerd,
        SIMULATE_GPUS=str(LEASES),
    )
    yield agent
    agent.clean()
    label = f"ganglion.installation={brain.installation_id}"
    remove_all(engine_client, label)
    remove_networks(engine_client, label)


def containers(client: docker.APIClient, brain: AgentBrain) -> list[dict]:  # type: ignore[type-arg]
    label = f"ganglion.installation={brain.installation_id}"
    return list(client.containers(all=True, filters={"label": label}))


def sleeper(gpu: str) -> DesiredLease:
    arguments = ["sh", "-c", OBEDIENT]
    return lease_of([gpu], image=BUSYBOX, arguments=arguments, process=[], health_path="", port=0)


@pytest.mark.parametrize(
    "seed", [SEEDS[0], *(pytest.param(seed, marks=pytest.mark.long) for seed in SEEDS[1:])]
)
async def test_killed_at_any_moment_it_adopts_all_and_doubles_none(
    brain: AgentBrain, agent: AgentProcess, engine_client: docker.APIClient, seed: int
) -> None:
    chance = random.Random(seed)
    agent.start()
    uuids = await brain.gpu_uuids(LEASES)
    leases = [sleeper(uuid) for uuid in uuids]
    wanted: dict[str, bool] = {}
    for kill in range(KILLS):
        for lease in leases:
            run = wanted.get(lease.lease_id) is not False and chance.random() < 0.8
            if wanted.get(lease.lease_id) is not run:
                wanted[lease.lease_id] = run
                brain.want(lease if run else stopped(lease))
        await stretch(chance.uniform(0.0, 1.2))
        assert agent.process is not None
        agent.process.send_signal(signal.SIGKILL)
        agent.process.wait(20)
        before = {
            one["Labels"]["ganglion.lease"]: one["Id"]
            for one in containers(engine_client, brain)
            if one["State"] == "running"
        }
        brain.beats.clear()
        agent.start()
        await settled(brain, wanted)
        held = [one["Labels"]["ganglion.lease"] for one in containers(engine_client, brain)]
        assert sorted(held) == sorted(lease for lease, run in wanted.items() if run)
        after = {
            one["Labels"]["ganglion.lease"]: one["Id"] for one in containers(engine_client, brain)
        }
        kept = {lease: ref for lease, ref in before.items() if wanted[lease]}
        assert {lease: after[lease] for lease in kept} == kept, f"seed {seed}, kill {kill}"
        lines = [x for x in brain.beats[-1].leases if wanted.get(x.lease_id)]
        assert [x.restarts for x in lines] == [0] * len(lines)


def stopped(lease: DesiredLease) -> DesiredLease:
    return DesiredLease(
        lease.lease_id,
        lease.epoch,
        lease.gpu_uuids,
        lease.ttl_seconds,
        DesiredState.STOP,
        lease.launch,
    )


async def settled(brain: AgentBrain, wanted: dict[str, bool]) -> None:
    def shown() -> bool:
        if not brain.beats or brain.beats[-1].generation != brain.generation:
            return False
        seen = {x.lease_id: x.state.value for x in brain.beats[-1].leases}
        return all(
            seen.get(lease, "gone") == ("ready" if run else "gone") for lease, run in wanted.items()
        )

    await until(shown, 120)


async def test_killed_in_a_pull_it_pulls_again_and_starts_once(
    brain: AgentBrain, agent: AgentProcess, engine_client: docker.APIClient, tmp_path: Path
) -> None:
    name = f"team/pulled{brain.port}:1"
    with registry_in(tmp_path, password=False) as registry:
        made = padded(engine_client, name)
        registry.holds(engine_client, made, name)
        engine_client.remove_image(made)
        async with dammed(registry, bytes_max=2 << 20) as (dam, port):
            agent.start()
            (uuid, *_) = await brain.gpu_uuids(LEASES)
            lease = sleeper(uuid)
            lease.launch.image = registry.image(name, port)
            brain.want(lease)
            await asyncio.wait_for(dam.held.wait(), 60)
            await until(lambda: told(brain, lease).pull_total_mib >= 8, 30)
            assert agent.process is not None
            agent.process.kill()
            agent.process.wait(20)
            assert containers(engine_client, brain) == []
            dam.let_go()
            brain.beats.clear()
            agent.start()
            seen = await brain.shows(lease.lease_id, "ready")
            assert (seen.restarts, len(containers(engine_client, brain))) == (0, 1)
            await until(lambda: (used := told(brain, lease).usage) and used.pids >= 1, 40)


def told(brain: AgentBrain, lease: DesiredLease) -> LeaseSeen:
    seen = brain.seen(lease.lease_id)
    assert seen is not None
    return seen


async def test_killed_with_its_memory_lost_it_rebuilds_locks_from_labels(
    brain: AgentBrain, agent: AgentProcess, engine_client: docker.APIClient
) -> None:
    agent.start()
    (uuid, *_) = await brain.gpu_uuids(LEASES)
    lease = sleeper(uuid)
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready")
    (before,) = containers(engine_client, brain)
    assert agent.process is not None
    agent.process.kill()
    agent.process.wait(20)
    (agent.home / "state.json").unlink()
    brain.beats.clear()
    rival = sleeper(uuid)
    rival.epoch = 2
    brain.leases.clear()
    brain.want(rival)  # the GPU was given on while the agent was dead
    agent.start()
    await brain.shows(rival.lease_id, "ready")
    (after,) = containers(engine_client, brain)
    assert before["Labels"]["ganglion.lease"] == lease.lease_id
    assert after["Labels"]["ganglion.lease"] == rival.lease_id


async def test_the_reaper_leaves_what_is_not_ours(
    brain: AgentBrain,
    agent: AgentProcess,
    dockerd: str,
    engine_client: docker.APIClient,
    tmp_path: Path,
) -> None:
    stranger = engine_client.create_container(BUSYBOX, ["sh", "-c", OBEDIENT])["Id"]
    engine_client.start(stranger)
    async with docker_hand(dockerd, engine_client, tmp_path / "other") as other:
        theirs = await running(other, pod(OBEDIENT))
        agent.start()
        uuids = await brain.gpu_uuids(LEASES)
        lease = sleeper(uuids[0])
        brain.want(lease)
        await brain.shows(lease.lease_id, "ready")
        assert agent.process is not None
        agent.process.kill()
        agent.process.wait(20)
        brain.drop(lease.lease_id)  # it ended while the agent was dead
        (agent.home / "state.json").unlink()
        agent.start()
        await until(lambda: containers(engine_client, brain) == [], 40)
        told = len(brain.beats)
        await until(lambda: len(brain.beats) >= told + 3, 40)  # looks enough to do harm
        for kept in (stranger, theirs.ref):
            assert engine_client.inspect_container(kept)["State"]["Running"]

        def names() -> set[str]:
            return {one["Name"] for one in engine_client.networks()}

        await until(lambda: f"ganglion-{lease.lease_id}" not in names())
        assert f"ganglion-{theirs.lease_id}" in names()
    engine_client.remove_container(stranger, force=True)


async def test_work_without_a_record_waits_for_the_brains_word(
    brain: AgentBrain, agent: AgentProcess, engine_client: docker.APIClient
) -> None:
    agent.start()
    (uuid, *_) = await brain.gpu_uuids(LEASES)
    lease = sleeper(uuid)
    brain.want(lease)
    await brain.shows(lease.lease_id, "ready")
    assert agent.process is not None
    agent.process.kill()
    agent.process.wait(20)
    (agent.home / "state.json").unlink()
    brain.away = True
    agent.start()
    await until(lambda: "beat_failed" in agent.printed().rpartition("agent_ready")[2], 30)
    await stretch(2.0)
    (kept,) = containers(engine_client, brain)
    assert kept["State"] == "running"
    brain.away = False
    brain.beats.clear()
    await brain.shows(lease.lease_id, "ready")
    assert [one["Id"] for one in containers(engine_client, brain)] == [kept["Id"]]


@pytest.mark.feature("E1")
async def test_secrets_are_asked_before_each_start_and_are_in_no_file(
    brain: AgentBrain, agent: AgentProcess, engine_client: docker.APIClient
) -> None:
    agent.start()
    (uuid, *_) = await brain.gpu_uuids(LEASES)
    line = "echo ${#HF_TOKEN} characters; sleep 1; exit 1"
    lease = lease_of(
        [uuid],
        image=BUSYBOX,
        arguments=["sh", "-c", line],
        process=[],
        health_path="",
        port=0,
        secrets=True,
    )
    brain.secrets[lease.lease_id] = SecretsAnswer({"HF_TOKEN": "hf-very-secret"})
    brain.want(lease)
    await until(lambda: len(brain.secrets_asked) >= 2, 40)
    assert {(one.lease_id, one.epoch) for one in brain.secrets_asked} == {(lease.lease_id, 1)}
    await until(lambda: "14 characters" in " ".join(brain.lines.get(lease.lease_id, [])), 40)
    files = await until(lambda: contents(agent.home, agent.home / "state.json"))
    written = b"".join(files.values()) + agent.printed().encode()
    assert b"hf-very-secret" not in written
    assert "hf-very-secret" not in json.dumps(
        [one["Labels"] for one in containers(engine_client, brain)]
    )


@pytest.mark.feature("E1")
async def test_a_pod_that_keeps_ending_fails_with_the_reason(
    brain: AgentBrain, agent: AgentProcess, engine_client: docker.APIClient
) -> None:
    agent.start()
    (uuid, *_) = await brain.gpu_uuids(LEASES)
    lease = lease_of(
        [uuid],
        image=BUSYBOX,
        arguments=["sh", "-c", "exit 7"],
        process=[],
        health_path="",
        port=0,
    )
    brain.want(lease)
    seen = await brain.shows(lease.lease_id, "failed")
    assert "exit code 7" in seen.reason
    assert seen.restarts == 5
    assert containers(engine_client, brain) == []
