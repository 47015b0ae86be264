"""A pod on a machine that nothing can reach: its port and a shell all the same."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import asyncssh
import docker
import httpx
import pytest
from msgspec.structs import replace

from kernel.wire.agent import DesiredLease, GatewayAddress, LaunchSpec
from kernel.wire.gateway import REVERSE, LinkRow, PodRow
from tests.support.agent_brain import AgentBrain, lease_of
from tests.support.agent_process import AgentProcess
from tests.support.node_net import node_net
from tests.support.own_dockerd import own_daemon
from tests.support.pod_front import LINK_KEY, PodFront, front_with, link_address, pod_row
from tests.support.ssh_client import OpenSsh
from tests.support.two_networks import firewall_programs
from tests.support.wait import until
from tests.support.worker_image import BUSYBOX, busybox_image

pytestmark = [
    pytest.mark.feature("E3"),
    pytest.mark.real("dockerd"),
    pytest.mark.slow,
    pytest.mark.xdist_group("isolation"),
]
SCRIPT = (
    "mkdir -p /tmp/w; echo 'nobody can reach me' > /tmp/w/index.html;"
    " exec httpd -f -p 8000 -h /tmp/w"
)


def pod_lease(gpu_uuids: list[str]) -> DesiredLease:
    launch = LaunchSpec(
        engine="pod",
        image=BUSYBOX,
        arguments=["sh", "-c", SCRIPT],
        health_path="",
        port=0,
        ports=[8000],
        shell=True,
        environment={"FOO": "from inside"},
    )
    return replace(lease_of(gpu_uuids), launch=launch, link_key=LINK_KEY)


def row_of(lease: DesiredLease, key: asyncssh.SSHKey) -> PodRow:
    return pod_row(
        lease_id=lease.lease_id,
        epoch=lease.epoch,
        link=LinkRow(kind=REVERSE, key=LINK_KEY),
        ssh_keys=[key.export_public_key().decode()],
    )


async def the_page(front: PodFront) -> str:
    async with httpx.AsyncClient(timeout=30) as http:
        base = f"http://127.0.0.1:{front.port}/"
        answer = await http.get(base, headers={"host": front.host()})
    assert answer.status_code == 200, answer.text
    return answer.text


async def test_a_pod_behind_a_closed_door_serves_its_port_and_a_shell(
    dockerd: str, tmp_path: Path
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    folder = tmp_path / "docker"
    folder.mkdir()
    with (
        node_net() as net,
        own_daemon(folder, programs=firewall_programs(), network=net.name) as server,
    ):
        client = docker.APIClient(base_url=server.url, version="auto", timeout=60)
        busybox_image(client)
        client.close()
        brain = AgentBrain(host=net.outside)
        await brain.start()
        docker_settings: dict[str, Any] = {"AGENT_ENGINE": "docker", "DOCKER_HOST": server.url}
        agent = AgentProcess(
            tmp_path / "agent",
            brain.url,
            within=["nsenter", f"--net=/run/netns/{net.name}"],
            AGENT_DISK_RESERVE_MIB="0",
            **docker_settings,
        )
        try:
            agent.start()
            lease = pod_lease(await brain.gpu_uuids(1))
            home = tmp_path / "front"
            async with front_with(home, row_of(lease, key), pod_link_host=net.outside) as (
                front,
                told,
            ):
                boot_id, url = link_address(told)
                brain.gateways = [GatewayAddress(boot_id, url, pods=True)]
                brain.want(lease)
                page = await until(lambda: the_page(front), 120, every=0.5)
                assert page == "nobody can reach me\n"
                ssh = OpenSsh(tmp_path, front.ssh_port, key)
                code, out, err = await ssh("mypod@127.0.0.1", "echo $FOO; exit 5")
                assert (code, out) == (5, b"from inside\n"), err
                with pytest.raises(OSError):
                    async with asyncio.timeout(2):
                        await asyncio.open_connection(net.address, 8000)
        finally:
            agent.clean()
            await brain.stop()
