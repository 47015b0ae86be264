"""Into a pod on a real Docker, by everyone's own tools: ssh, and HTTP to its port."""

from __future__ import annotations

import asyncio
import hashlib
import os
from pathlib import Path
from typing import Any

import asyncssh
import docker
import httpx
import pytest

from tests.support.installation import Installation
from tests.support.ssh_client import OpenSsh
from tests.support.wait import until
from tests.support.worker_image import BUSYBOX

pytestmark = [pytest.mark.real("dockerd"), pytest.mark.feature("E3")]
SCRIPT = "mkdir -p /tmp/www; echo welcome > /tmp/www/index.html; exec httpd -f -p 8080 -h /tmp/www"
SECONDS_MAX = 120


def inside(product: Installation, client: docker.APIClient) -> str:
    """All that runs in the pod's container."""
    [container] = product.containers(client, BUSYBOX)
    return str(client.top(container["Id"])["Processes"])


async def the_page(port: int, host: str) -> str:
    async with httpx.AsyncClient(timeout=30) as http:
        answer = await http.get(f"http://127.0.0.1:{port}/", headers={"host": host})
    assert answer.status_code == 200, answer.text
    return answer.text


async def check_commands(ssh: OpenSsh, pod: str) -> None:
    code, out, err = await ssh(pod, 'echo "$FOO"; echo aside >&2; exit 7')
    assert (code, out) == (7, b"from the pod\n"), err
    assert b"aside\n" in err
    content = os.urandom(1 << 20) * 50
    code, out, err = await ssh(pod, "cat", stdin=content)
    assert code == 0, err
    assert hashlib.sha256(out).digest() == hashlib.sha256(content).digest()


async def check_terminal(port: int, user: str, key: asyncssh.SSHKey) -> None:
    async with (
        asyncio.timeout(SECONDS_MAX),
        asyncssh.connect(
            "127.0.0.1",
            port,
            username=user,
            client_keys=[key],
            known_hosts=None,
            config=None,
            agent_path=None,
        ) as connection,
    ):
        shell = await connection.create_process(term_type="vt100", term_size=(101, 41))
        shell.stdin.write("stty size; echo term=$TERM\n")
        await shell.stdout.readuntil("41 101")
        await shell.stdout.readuntil("term=vt100")
        shell.change_terminal_size(77, 22)
        shell.stdin.write("sleep 1; stty size; exit 3\n")
        await shell.stdout.readuntil("22 77")
        await shell.wait()
    assert shell.exit_status == 3


async def check_a_killed_client(
    ssh: OpenSsh, pod: str, product: Installation, client: docker.APIClient
) -> None:
    session = await ssh.start(pod, "echo up; exec sleep 4242")
    assert session.stdout is not None
    assert await session.stdout.readline() == b"up\n"
    assert "4242" in inside(product, client)
    session.kill()
    await session.wait()
    await until(lambda: "4242" not in inside(product, client), 60, every=0.5)


async def test_a_pod_is_reached_by_name_wherever_it_runs(
    product: Installation, engine_client: docker.APIClient, tmp_path: Path
) -> None:
    key = asyncssh.generate_private_key("ssh-ed25519")
    front, port = int(product.ready["pod_front_port"]), int(product.ready["ssh_port"])
    ssh = OpenSsh(tmp_path, port, key)
    product.ask("ssh-key", "add", str(tmp_path / "id_ed25519.pub"), "--name", "test")
    made: dict[str, Any] = product.ask(
        "pod", "create", BUSYBOX, "--name", "box", "--simulated", "--port", "8080",
        "--env", "FOO=from the pod", "--command", "sh", "--command=-c", f"--command={SCRIPT}",
    )  # fmt: skip
    slug = made["slug"]
    pod, host = f"{slug}@127.0.0.1", f"{slug}-8080.localhost"
    assert made["ports"] == [{"port": 8080, "url": f"http://{host}:{front}"}]
    assert made["ssh"] == f"ssh {slug}@localhost -p {port}"

    assert await until(lambda: the_page(front, host), SECONDS_MAX, every=0.5) == "welcome\n"
    await check_commands(ssh, pod)
    await check_terminal(port, slug, key)
    await check_a_killed_client(ssh, pod, product, engine_client)

    session = await ssh.start(pod, "echo up; exec sleep 4242")
    assert session.stdout is not None
    assert session.stderr is not None
    assert await session.stdout.readline() == b"up\n"
    await asyncio.to_thread(product.ask, "pod", "stop", "box")
    async with asyncio.timeout(SECONDS_MAX):
        assert b"The pod has stopped" in await session.stderr.read()
    assert await session.wait() == 255
    async with httpx.AsyncClient() as http:
        gone = await http.get(f"http://127.0.0.1:{front}/", headers={"host": host})
    assert (gone.status_code, gone.json()["code"]) == (503, "pod_not_running")

    await asyncio.to_thread(product.ask, "pod", "start", "box")
    assert await until(lambda: the_page(front, host), SECONDS_MAX, every=0.5) == "welcome\n"
    assert (await ssh(pod, "true"))[0] == 0
    await asyncio.to_thread(product.ask, "pod", "delete", "box")
