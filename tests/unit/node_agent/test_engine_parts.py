"""Pure parts of the Docker hand: the life of a container, statistics, the firewall's rules."""

from __future__ import annotations

import itertools

import pytest
from docker.errors import APIError

from kernel.errors import Conflict
from kernel.wire.agent import RegistryLogin
from node_agent.containers.client import registry_of, why_not_started
from node_agent.containers.facts import facts_of, holds_of, runtime_for
from node_agent.containers.networks import bridge_name
from node_agent.containers.pull import PullCount, not_pulled
from node_agent.containers.states import LIFE, Life, Stage, Step, stage_of
from node_agent.containers.usage import CpuSample, usage_of
from node_agent.engine import StartFailed, StartRefused
from node_agent.firewall import BLOCKED, private_resolvers, rules

pytestmark = pytest.mark.feature("C4")
MIB = 1 << 20


@pytest.mark.parametrize(("stage", "step"), list(itertools.product(Stage, Step)))
def test_a_step_is_in_the_table_or_a_conflict(stage: Stage, step: Step) -> None:
    life = Life(stage)
    if (stage, step) in LIFE.table:
        life.go(step)
        assert life.stage is LIFE.table[stage, step]
        return
    with pytest.raises(Conflict):
        life.go(step)
    assert life.stage is stage


def test_what_runs_is_not_removed_and_what_is_made_is_not_stopped() -> None:
    assert not LIFE.can(Stage.RUNNING, Step.REMOVE)
    assert not LIFE.can(Stage.CREATED, Step.STOP)
    assert not LIFE.can(Stage.EXITED, Step.START)  # a run is never begun twice


def test_a_word_of_docker_that_we_do_not_know_runs() -> None:
    assert stage_of("hibernating") is Stage.RUNNING


@pytest.mark.parametrize("version", [1, 2])
def test_statistics_are_read_from_both_kinds_of_control_groups(version: int) -> None:
    cache = {"inactive_file": 2 * MIB} if version == 2 else {"total_inactive_file": 2 * MIB}
    stats = {
        "cpu_stats": {"cpu_usage": {"total_usage": 3_000}},
        "memory_stats": {"usage": 10 * MIB, "stats": cache},
        "networks": {"eth0": {"rx_bytes": 5, "tx_bytes": 6}, "eth1": {"rx_bytes": 1}},
        "blkio_stats": {
            "io_service_bytes_recursive": [
                {"op": "Read" if version == 1 else "read", "value": 7},
                {"op": "write", "value": 8},
                {"op": "write", "value": 2},
                {"op": "Total", "value": 17},
            ]
        },
        "pids_stats": {"current": 4},
    }
    told, sample = usage_of(stats, 2_000, 64, CpuSample(1_000, 1_000))
    assert told.cpu_percent == 200.0
    assert (told.memory_used_mib, told.memory_limit_mib, told.pids) == (8, 64, 4)
    assert (told.net_rx_bytes, told.net_tx_bytes) == (6, 6)
    assert (told.block_read_bytes, told.block_write_bytes) == (7, 10)
    assert sample == CpuSample(3_000, 2_000)


def test_a_container_that_is_gone_has_no_statistics_and_breaks_nothing() -> None:
    told, _ = usage_of({"networks": None, "blkio_stats": None, "memory_stats": {}}, 1, 0, None)
    assert told.memory_used_mib == 0


def test_gvisor_is_used_where_docker_has_it_and_it_can_do_the_work() -> None:
    none = facts_of({"Runtimes": {"runc": {}}})
    plain = facts_of({"Runtimes": {"runsc": {"path": "runsc"}}})
    proxy = facts_of({"Runtimes": {"runsc": {"runtimeArgs": ["--nvproxy"]}}})
    assert [runtime_for(facts, None, gpus=True) for facts in (none, plain, proxy)] == [
        None,
        None,
        "runsc",
    ]
    assert runtime_for(plain, None, gpus=False) == "runsc"
    assert runtime_for(proxy, "kata", gpus=True) == "kata"


def test_user_namespaces_are_seen_and_asked_for() -> None:
    with_them = facts_of({"SecurityOptions": ["name=seccomp,profile=default", "name=userns"]})
    holds = {hold.name: hold for hold in holds_of(with_them, None)}
    assert (holds["user_namespaces"].holds, holds["seccomp"].holds) == (True, True)
    without = {hold.name: hold for hold in holds_of(facts_of({}), None)}
    assert "userns-remap" in without["user_namespaces"].detail


def test_bridges_have_names_that_the_kernel_takes() -> None:
    names = {bridge_name(f"lease_{number}") for number in range(200)}
    assert len(names) == 200
    assert {len(name) for name in names} == {15}


def test_private_name_servers_may_be_asked_for_names_alone() -> None:
    text = "nameserver 127.0.0.53\nnameserver 192.168.1.1\nnameserver 8.8.8.8\nnameserver fe80::1\n"
    found = private_resolvers([text, "nameserver 192.168.1.1\nsearch x\nnameserver\n"])
    assert found == ["192.168.1.1"]
    lines = rules(found).splitlines()
    opened = [number for number, line in enumerate(lines) if "192.168.1.1/32" in line]
    assert all("--dport 53" in lines[number] for number in opened)
    assert max(opened) < min(n for n, line in enumerate(lines) if line.endswith("-j DROP"))
    assert all(f"-d {network} -j DROP" in rules([]) for network in BLOCKED)


@pytest.mark.parametrize(
    ("said", "kind", "told"),
    [
        ('could not select device driver "" with capabilities: [[gpu]]', StartRefused, "Toolkit"),
        ("nvidia-container-cli: initialization error: nvml error", StartRefused, "NVIDIA driver"),
        ("Bind for 127.0.0.1:80 failed: port is already allocated", StartFailed, "port of this"),
        ("listen tcp4 127.0.0.1:80: bind: address already in use", StartFailed, "port of this"),
        ("could not find an available, non-overlapping IPv4 pool", StartFailed, "free addresses"),
        ("write /x: no space left on device", StartFailed, "disk of this host is full"),
        ("exec: no such file or directory", StartRefused, "cannot be started"),
        ("something else", StartFailed, "cannot be started: something else"),
    ],
)
def test_a_failed_start_says_what_to_do(said: str, kind: type[Exception], told: str) -> None:
    failure = why_not_started(APIError("500", explanation=said))
    assert type(failure) is kind
    assert told in failure.detail


def test_only_bytes_and_steps_are_movement() -> None:
    count = PullCount()
    seen = []
    for line in (
        {"status": "Pulling fs layer", "id": "a"},
        {"status": "Waiting", "id": "a"},
        {"status": "Downloading", "id": "a", "progressDetail": {"current": 1, "total": 9}},
        {"status": "Retrying in 5 seconds", "id": "a"},
        {"status": "Retrying in 4 seconds", "id": "a"},
        {"status": "Extracting", "id": "a", "progressDetail": {"current": 3, "total": 9}},
        {"status": "Pull complete", "id": "a"},
    ):
        count.take(line)
        seen.append(count.moves)
    assert seen == [1, 1, 2, 2, 2, 3, 4]


def test_docker_hubs_own_names_are_one_registry() -> None:
    assert [registry_of(name) for name in ("python:3", "docker.io/a/b", "ghcr.io/a/b:1")] == [
        "docker.io",
        "docker.io",
        "ghcr.io",
    ]


LOGIN = RegistryLogin("ghcr.io", "renter", "its-password")


@pytest.mark.feature("E1")
@pytest.mark.parametrize(
    ("said", "login", "missing", "kind", "word"),
    [
        (
            "Head https://ghcr.io/v2/: no basic auth credentials",
            None,
            False,
            StartRefused,
            "choose",
        ),
        ("unauthorized: authentication required", LOGIN, False, StartRefused, "refuses the cred"),
        ("Get https://ghcr.io/v2/: unauthorized: ", None, False, StartRefused, "choose"),
        ("pull access denied for me/it, may require login", None, True, StartRefused, "choose"),
        (
            "denied: requested access to the resource is denied",
            LOGIN,
            True,
            StartRefused,
            "refuses",
        ),
        ("manifest for me/it:2 not found", LOGIN, True, StartRefused, "There is no image"),
        ("toomanyrequests: the pull rate limit is reached", None, False, StartFailed, "rate limit"),
        ("received unexpected HTTP status: 502", LOGIN, False, StartFailed, "502"),
    ],
)
def test_a_pull_that_fails_says_of_which_registry_and_what_to_do(
    said: str,
    login: RegistryLogin | None,
    missing: bool,
    kind: type[StartFailed] | type[StartRefused],
    word: str,
) -> None:
    found = not_pulled("ghcr.io/me/it:2", login, said, missing=missing)
    assert type(found) is kind
    assert word in found.detail
    assert "ghcr.io" in found.detail
    assert "its-password" not in found.detail
