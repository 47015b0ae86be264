"""Images made on the spot, with no registry: busybox alone, and the stand-in worker."""

from __future__ import annotations

import io
import tarfile

import docker

from standins import image
from tools import debian_parts

BUSYBOX = "ganglion/busybox:test"
WORKER = "ganglion/stand-in:test"
LINKS = ("sh", "sleep", "httpd", "echo", "cat", "id", "nc", "kill", "trap", "yes", "head", "dd")


def busybox_image(client: docker.APIClient) -> str:
    """A 2 MB image whose programs are busybox's."""
    if not client.images(BUSYBOX):
        program = debian_parts.DEBIAN / "busybox" / "bin" / "busybox"
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            tar.add(program, "bin/busybox")
            for name in LINKS:
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        image.load(client, content.getvalue(), BUSYBOX, [])
    return BUSYBOX


def worker_image(client: docker.APIClient, name: str = WORKER) -> str:
    """The stand-in worker; its arguments are those of ``python -m standins.worker``."""
    image.ensure(client, name)
    return name
