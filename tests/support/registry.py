"""A real image registry (Debian's docker-registry) with a password, and a dam before it."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import docker
import httpx
import yaml

from kernel.wire.agent import RegistryLogin
from tests.support.wait import free_port, pause
from tests.support.worker_image import busybox_image
from tools.debian_parts import DEBIAN

USER, PASSWORD = "renter", "registry-password"
# bcrypt of PASSWORD, as the registry wants it
HASH = "$2b$04$Aek1xhePTaED6mNFYfQDe.9KzhS64sMAfuaw5Pr7angNz27e4tBA2"
START_LOOKS_MAX = 400
READY = (200, 401)


@dataclass(frozen=True)
class Registry:
    port: int

    def image(self, name: str, port: int = 0) -> str:
        """A name in this registry; ``port``: of a dam before it."""
        return f"127.0.0.1:{port or self.port}/{name}"

    def login(self, password: str = PASSWORD, port: int = 0) -> RegistryLogin:
        return RegistryLogin(f"127.0.0.1:{port or self.port}", USER, password)

    def holds(self, client: docker.APIClient, image: str, name: str) -> None:
        """Put a local image into it under this name, and keep nothing of that name here."""
        target = self.image(name)
        repository, _, tag = target.rpartition(":")
        client.tag(image, repository, tag)
        account = {"username": USER, "password": PASSWORD}
        for line in client.push(repository, tag, auth_config=account, stream=True, decode=True):
            assert "error" not in line, line
        client.remove_image(target)


@contextmanager
def registry_in(folder: Path, *, password: bool = True) -> Iterator[Registry]:
    port = free_port()
    settings = {
        "version": "0.1",
        "storage": {"filesystem": {"rootdirectory": str(folder / "registry")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    if password:
        (folder / "htpasswd").write_text(f"{USER}:{HASH}\n")
        settings["auth"] = {"htpasswd": {"realm": "test", "path": str(folder / "htpasswd")}}
    (folder / "registry.yml").write_text(yaml.safe_dump(settings))
    program = DEBIAN / "registry" / "usr" / "bin" / "docker-registry"
    log = os.open(folder / "registry.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    process = subprocess.Popen(
        [str(program), "serve", str(folder / "registry.yml")], stdout=log, stderr=log
    )
    try:
        for _ in range(START_LOOKS_MAX):
            with suppress(httpx.HTTPError):
                if httpx.get(f"http://127.0.0.1:{port}/v2/", trust_env=False).status_code in READY:
                    break
            pause(0.05)
        yield Registry(port)
    finally:
        process.terminate()
        process.wait(20)
        os.close(log)


def padded(client: docker.APIClient, name: str, mib: int = 8) -> str:
    """Busybox with some random MiB on top."""
    line = f"dd if=/dev/urandom of=/padding bs=1M count={mib}"
    made = client.create_container(busybox_image(client), ["sh", "-c", line])
    client.start(made["Id"])
    client.wait(made["Id"])
    repository, _, tag = f"local/{name}".rpartition(":")
    client.commit(made["Id"], repository, tag)
    client.remove_container(made["Id"])
    return f"local/{name}"


class Dam:
    """Stands before a port and lets so many bytes of answers through; the rest waits."""

    def __init__(self, port: int, *, bytes_max: int) -> None:
        self._port = port
        self._left = bytes_max
        self._open = asyncio.Event()
        self.held = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", self._port)
        up = asyncio.create_task(self._pump(reader, back, counted=False))
        down = asyncio.create_task(self._pump(there, writer, counted=True))
        await asyncio.wait((up, down))

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, counted: bool
    ) -> None:
        with suppress(OSError):
            while piece := await reader.read(16_384):
                if counted:
                    self._left -= len(piece)
                    if self._left < 0:
                        self.held.set()
                        await self._open.wait()
                writer.write(piece)
                await writer.drain()
            writer.close()

    def let_go(self) -> None:
        self._open.set()


@asynccontextmanager
async def dammed(registry: Registry, *, bytes_max: int) -> AsyncIterator[tuple[Dam, int]]:
    """The dam and its port."""
    dam = Dam(registry.port, bytes_max=bytes_max)
    server = await asyncio.start_server(dam.serve, "127.0.0.1", 0)
    yield dam, server.sockets[0].getsockname()[1]
    dam.let_go()
    server.close()
