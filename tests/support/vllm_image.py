"""An image in which the real vLLM of ``.parts`` runs: the system's libraries that it loads and no
more. Its environment, its interpreter and its models are mounted from the host, read-only."""

from __future__ import annotations

import io
import shutil
import sysconfig
import tarfile
from pathlib import Path

import docker

from standins.image import inside, libraries, load
from tools import debian_parts, vllm_part

# As the template asks for it: this engine then stands in the place of the one for GPUs.
VLLM = "vllm/vllm-openai:v0.11.0"
PROGRAMS = ("lscpu",)  # by which the engine learns of the cores
LINKS = ("sh", "cat", "uname", "ls")


def engine_folders() -> list[str]:
    """What the containers see of the host: environment, interpreter, models."""
    python = (vllm_part.HOME / "bin" / "python").resolve()
    folders = [vllm_part.HOME.resolve(), python.parents[1], vllm_part.MODELS.resolve()]
    return [str(folder) for folder in folders]


def vllm_image(client: docker.APIClient, name: str = VLLM) -> str:
    """Import it once for each engine; its entry point is that of vLLM's own image."""
    if not client.images(name):
        home = vllm_part.HOME.resolve()
        entry = f'"{home}/bin/python", "-m", "vllm.entrypoints.openai.api_server"'
        changes = [
            f"ENTRYPOINT [{entry}]",
            f"ENV PATH={home}/bin:/usr/bin:/bin HOME=/tmp PYTHONDONTWRITEBYTECODE=1",
            "ENV OMP_NUM_THREADS=1 VLLM_CPU_OMP_THREADS_BIND=nobind DO_NOT_TRACK=1",
            "WORKDIR /tmp",
        ]
        load(client, _root(home), name, changes)
    return name


def _root(home: Path) -> bytes:
    python = (home / "bin" / "python").resolve()
    standard = python.parents[1] / "lib" / f"python{sysconfig.get_python_version()}"
    binaries = [python, *standard.glob("lib-dynload/*.so"), *home.rglob("*.so*")]
    programs = [Path(found) for name in PROGRAMS if (found := shutil.which(name))]
    mounted = engine_folders()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        there: set[str] = set()
        for library in sorted(libraries([*binaries, *programs])):
            if not any(str(library).startswith(folder) for folder in mounted):
                tar.add(library.resolve(), inside(library))
                there.add(inside(library))
        for program in programs:
            tar.add(program.resolve(), f"usr/bin/{program.name}")
        busybox = debian_parts.DEBIAN / "busybox" / "bin" / "busybox"
        tar.add(busybox, "bin/busybox")
        for name in LINKS:
            link = tarfile.TarInfo(f"bin/{name}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
        _file(tar, "etc/passwd", b"root:x:0:0:root:/tmp:/bin/sh\n")
        _file(tar, "etc/group", b"root:x:0:\n")
        tmp = tarfile.TarInfo("tmp")
        tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(tmp)
    return content.getvalue()


def _file(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
