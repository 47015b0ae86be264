"""A tenant's container looks around: each point of its isolation, from inside, on a real dockerd
whose host is a network namespace with a LAN, a metadata address and an internet around it."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import docker
import pytest

from kernel.clock import SystemClock
from node_agent.containers.options import Rules
from node_agent.engine_docker import DockerEngine, Limits, docker_engine
from node_agent.firewall import Firewall
from node_agent.hardening import hardening
from node_agent.records import Work
from tests.support.docker_hand import order, pod, running, said_inside
from tests.support.dockerd import Dockerd
from tests.support.own_dockerd import own_daemon
from tests.support.two_networks import (
    HOST,
    HOST_IN_LAN,
    HOST_PORT,
    INTERNET,
    LAN,
    METADATA,
    SHARED,
    Networks,
    enter,
    firewall_environment,
    firewall_programs,
    two_networks,
)
from tests.support.wait import until
from tests.support.worker_image import busybox_image

pytestmark = [
    pytest.mark.feature("C4"),
    pytest.mark.real("dockerd"),
    pytest.mark.xdist_group("isolation"),
]
FETCH = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:%d/', timeout=9).read())"
FORBIDDEN = {
    "the LAN": LAN,
    "the metadata address": METADATA,
    "another cloud's metadata": SHARED,
    "the host by its own address": f"{HOST}:{HOST_PORT}",
    "the host in its LAN": f"{HOST_IN_LAN}:{HOST_PORT}",
}


@dataclass
class Host:
    networks: Networks
    server: Dockerd
    client: docker.APIClient

    def firewall(self) -> Firewall:
        return Firewall(
            SystemClock(), before=enter(self.networks.host), environment=firewall_environment()
        )

    def reaches(self, work: Work, where: str) -> bool:
        """Asks by number: busybox's static wget cannot look anything up."""
        address, _, port = where.partition(":")
        line = f"echo 'GET / HTTP/1.0\n' | busybox nc -w 2 {address} {port or 80} 2>&1"
        said = said_inside(self.client, work, line)
        assert "fault" not in said
        return said.endswith("reached")


@pytest.fixture(scope="module")
def host(dockerd: str) -> Iterator[Host]:
    if shutil.which("ip") is None:
        pytest.skip("no ip command to make network namespaces with")
    folder = Path(tempfile.mkdtemp(prefix="gng-iso-"))
    with two_networks() as networks:
        programs = firewall_programs()
        with own_daemon(folder, programs=programs, network=networks.host) as server:
            client = docker.APIClient(base_url=server.url, version="auto", timeout=60)
            busybox_image(client)
            yield Host(networks, server, client)
            client.close()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
async def engine(host: Host, tmp_path: Path) -> AsyncIterator[DockerEngine]:
    limits = Limits(rules=Rules(dns=(INTERNET,)))
    engine = docker_engine(
        tmp_path, clock=SystemClock(), docker_host=host.server.url, limits=limits
    )
    yield engine
    for work in await engine.look():
        await engine.end(work, drain_seconds=0)
    await engine.close()


async def test_without_our_rules_the_host_and_its_network_are_open(
    host: Host, engine: DockerEngine
) -> None:
    host.networks.command("iptables", "-t", "mangle", "-F")
    work = await running(engine, pod("sleep 300"))
    assert {name for name, where in FORBIDDEN.items() if host.reaches(work, where)} == set(
        FORBIDDEN
    )


@pytest.mark.parametrize("name", sorted(FORBIDDEN))
async def test_it_does_not_reach(host: Host, engine: DockerEngine, name: str) -> None:
    assert (await host.firewall().check()).holds
    work = await running(engine, pod("sleep 300"))
    assert not host.reaches(work, FORBIDDEN[name])


async def test_the_internet_and_names_stay(host: Host, engine: DockerEngine) -> None:
    assert (await host.firewall().check()).holds
    work = await running(engine, pod("sleep 300"))
    assert host.reaches(work, INTERNET)
    assert (
        INTERNET
        in said_inside(host.client, work, "busybox nslookup example.test").split("Name:")[-1]
    )


async def test_it_does_not_reach_another_tenant_though_the_host_does(
    host: Host, engine: DockerEngine
) -> None:
    assert (await host.firewall().check()).holds
    serve = "echo reached > /index.html; httpd -f -p 80 -h /"
    other = await running(engine, pod(serve, ports=[80]))
    mine = await running(engine, pod("sleep 300"))
    networks = host.client.inspect_container(other.ref)["NetworkSettings"]["Networks"]
    address = next(iter(networks.values()))["IPAddress"]
    await until(lambda: host.reaches(other, address))  # its server listens
    assert not host.reaches(mine, address)
    assert not host.reaches(mine, f"{HOST}:{other.ports[80]}")
    assert "reached" in host.networks.command(sys.executable, "-c", FETCH % other.ports[80])


async def test_rules_that_were_flushed_are_put_back(host: Host, engine: DockerEngine) -> None:
    firewall = host.firewall()
    assert (await firewall.check()).holds
    work = await running(engine, pod("sleep 300"))
    for flush in (["-F"], ["-F", "GANGLION"], ["-F", "PREROUTING"], ["-D", "GANGLION", "1"]):
        host.networks.command("iptables", "-t", "mangle", *flush)
        assert (await firewall.check()).holds
        assert not host.reaches(work, LAN)
        assert host.reaches(work, INTERNET)
    shown = host.networks.command("iptables", "-t", "mangle", "-S", "PREROUTING")
    assert shown.count("GANGLION") == 1


async def test_without_iptables_it_says_so(host: Host) -> None:
    bare = Firewall(SystemClock(), environment={"PATH": "/nonexistent"})
    held = await bare.check()
    assert (held.holds, "install iptables" in held.detail) == (False, True)


async def test_from_inside_there_is_nothing_of_the_host(host: Host, engine: DockerEngine) -> None:
    work = await running(engine, order("sleep 300", memory_mib=64, shm_mib=8))
    status = dict(
        line.split(":", 1)
        for line in said_inside(host.client, work, "cat /proc/1/status").splitlines()
        if ":" in line
    )
    assert {int(status[name], 16) for name in ("CapEff", "CapPrm", "CapBnd", "CapInh")} == {0}
    assert status["NoNewPrivs"].strip() == "1"
    assert status["Seccomp"].strip() == "2"
    line = "ls /var/run/docker.sock /run/docker.sock /dev/sda /dev/vda /dev/loop0 /dev/mem"
    assert said_inside(host.client, work, f"busybox {line} 2>&1").count("No such file") == 6
    assert said_inside(host.client, work, "busybox mount -t tmpfs x /tmp 2>&1") != ""
    assert "denied" in said_inside(host.client, work, "busybox hostname other 2>&1").lower() or (
        "not permitted" in said_inside(host.client, work, "busybox hostname other 2>&1")
    )
    pids = said_inside(host.client, work, "busybox ls /proc | busybox grep -c '^[0-9]'")
    assert int(pids) < 6  # its own process table


async def test_its_memory_swap_shm_and_processes_are_bounded(
    host: Host, engine: DockerEngine
) -> None:
    work = await running(engine, order("sleep 300", memory_mib=64, shm_mib=8))
    limits = host.client.inspect_container(work.ref)["HostConfig"]
    assert (limits["Memory"], limits["MemorySwap"], limits["PidsLimit"]) == (
        64 << 20,
        64 << 20,
        4096,
    )
    assert (limits["PidMode"], limits["IpcMode"], limits["UTSMode"]) == ("", "private", "")
    full = said_inside(host.client, work, "dd if=/dev/zero of=/dev/shm/x bs=1M count=9 2>&1")
    assert "No space left" in full


async def test_a_models_container_can_be_kept_from_writing(host: Host, tmp_path: Path) -> None:
    limits = Limits(rules=Rules(read_only_workers=True))
    engine = docker_engine(
        tmp_path, clock=SystemClock(), docker_host=host.server.url, limits=limits
    )
    work = await running(engine, order("sleep 300"))
    said = said_inside(host.client, work, "echo x > /file; echo x > /tmp/file && echo written")
    assert ("Read-only file system" in said, "written" in said) == (True, True)
    await engine.end(work, drain_seconds=0)
    await engine.close()


async def test_what_holds_is_told_point_by_point(host: Host, engine: DockerEngine) -> None:
    host.networks.command("iptables", "-t", "mangle", "-F")
    holds = {hold.name: hold for hold in await hardening(engine, host.firewall(), None)}
    assert holds["containers"].holds
    assert holds["seccomp"].holds
    assert holds["metadata_and_lan_blocked"].holds
    assert not holds["live_restore"].holds
    assert "daemon.json" in holds["live_restore"].detail
    assert not holds["gvisor"].holds
    unwatched = {hold.name: hold for hold in await hardening(engine, None, None)}
    assert not unwatched["metadata_and_lan_blocked"].holds
