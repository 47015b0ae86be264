"""Images made on the spot, with no registry: busybox alone, and the stand-in worker.

The worker's image holds this very interpreter, its standard library, the libraries that these
load, and the packages that the stand-in imports. Nothing of the host is mounted into it.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable
from pathlib import Path

import docker

from tools import debian_parts

ROOT = Path(__file__).resolve().parents[2]
BUSYBOX = "ganglion/busybox:test"
WORKER = "ganglion/stand-in:test"
LINKS = ("sh", "sleep", "httpd", "echo", "cat", "id", "nc", "kill", "trap", "yes", "head", "dd")
HOUSES = ("kernel", "standins")
PACKAGES = ("msgspec", "h11", "uvloop", "httptools")
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"}
LEFT_OUT |= {"site-packages", "__pycache__", "distutils", "pydoc_data"}


def busybox_image(client: docker.APIClient) -> str:
    """A 2 MB image whose programs are busybox's."""
    if not _has(client, BUSYBOX):
        program = debian_parts.DEBIAN / "busybox" / "bin" / "busybox"
        content = io.BytesIO()
        with tarfile.open(fileobj=content, mode="w") as tar:
            tar.add(program, "bin/busybox")
            for name in LINKS:
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        _import(client, content.getvalue(), BUSYBOX, [])
    return BUSYBOX


def worker_image(client: docker.APIClient, name: str = WORKER) -> str:
    """The stand-in worker; its arguments are those of ``python -m standins.worker``."""
    if not _has(client, name):
        interpreter = Path(sys.executable).resolve()
        changes = [
            f'ENTRYPOINT ["{interpreter}", "-m", "standins.worker"]',
            "ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1",
            f"ENV PYTHONHOME={sys.base_prefix}",
            "WORKDIR /app",
        ]
        _import(client, _worker_root(interpreter), name, changes)
    return name


def _worker_root(interpreter: Path) -> bytes:
    standard = Path(sysconfig.get_path("stdlib"))
    installed = Path(sysconfig.get_path("purelib"))
    folders = [standard, *(installed / name for name in PACKAGES if (installed / name).is_dir())]
    loaded = [standard / "lib-dynload", *folders[1:]]
    binaries = [interpreter, *(file for folder in loaded for file in folder.rglob("*.so"))]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(interpreter, _inside(interpreter))
        tar.add(standard, _inside(standard), filter=_wanted)
        for name in HOUSES:
            tar.add(ROOT / name, f"app/{name}", filter=_wanted)
        for folder in folders[1:]:
            tar.add(folder, f"app/{folder.name}", filter=_wanted)
        there = set(tar.getnames())  # docker refuses an archive with a path twice
        for library in sorted(_libraries(binaries)):
            if _inside(library) not in there:
                tar.add(library.resolve(), _inside(library))
        tmp = tarfile.TarInfo("tmp")
        tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(tmp)
    return content.getvalue()


def _libraries(binaries: Iterable[Path]) -> set[Path]:
    """What the dynamic loader would load for these, the loader itself included."""
    printed = subprocess.run(
        ["ldd", *map(str, binaries)], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    found = re.findall(r"(?:=> |\t)(/\S+) \(0x", printed)
    return {Path(os.path.normpath(path)) for path in found}


def _inside(path: Path) -> str:
    return str(path).lstrip("/")


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(entry.name).name
    return None if name in LEFT_OUT or name.startswith("config-3") else entry


def _has(client: docker.APIClient, name: str) -> bool:
    return bool(client.images(name))


def _import(client: docker.APIClient, content: bytes, name: str, changes: list[str]) -> None:
    repository, _, tag = name.partition(":")
    client.import_image_from_data(content, repository=repository, tag=tag, changes=changes)
