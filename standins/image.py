"""The stand-in worker as an image of this machine's Docker, made on the spot with no registry.

It holds this very interpreter, its standard library, the libraries that these load, and the
packages that the stand-in imports. ``python -m standins.image [NAME]``, or ``ganglion stand-in
image``; Docker is where ``DOCKER_HOST`` says.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import docker
import requests
from docker.errors import APIError, DockerException

NAME = "ganglion/stand-in:dev"  # as the catalog's template names it
ROOT = Path(__file__).resolve().parents[1]
HOUSES = ("kernel", "standins")
PACKAGES = ("msgspec", "h11", "uvloop", "httptools", "python_multipart", "websockets")
LEFT_OUT = {"test", "tests", "idlelib", "tkinter", "turtledemo", "ensurepip", "lib2to3"}
LEFT_OUT |= {"site-packages", "__pycache__", "distutils", "pydoc_data"}
MADE_OF = "ganglion.made-of"
SECONDS_MAX = 300


def ensure(client: docker.APIClient, name: str = NAME) -> bool:
    """Make the image unless it is there and of this very code. True: it was made.

    Its arguments are those of ``python -m standins.worker``.
    """
    made_of = _digest()
    if any((one.get("Labels") or {}).get(MADE_OF) == made_of for one in client.images(name)):
        return False
    interpreter = Path(sys.executable).resolve()
    changes = [
        f'ENTRYPOINT ["{interpreter}", "-m", "standins.worker"]',
        "ENV PYTHONPATH=/app PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1",
        f"ENV PYTHONHOME={sys.base_prefix}",
        "WORKDIR /app",
        f"LABEL {MADE_OF}={made_of}",
    ]
    load(client, _root(interpreter), name, changes)
    return True


def load(client: docker.APIClient, content: bytes, name: str, changes: list[str]) -> None:
    """A tar archive becomes an image of this name."""
    repository, _, tag = name.partition(":")
    client.import_image_from_data(content, repository=repository, tag=tag, changes=changes)


def libraries(binaries: Iterable[Path]) -> set[Path]:
    """What the dynamic loader would load for these, the loader itself included."""
    printed = subprocess.run(
        ["ldd", *map(str, binaries)], capture_output=True, text=True, timeout=60, check=False
    ).stdout
    found = re.findall(r"(?:=> |\t)(/\S+) \(0x", printed)
    return {Path(os.path.normpath(path)) for path in found}


def inside(path: Path) -> str:
    """Where a file of this machine lies in the archive."""
    return str(path).lstrip("/")


def main(arguments: Sequence[str] | None = None) -> int:
    """Make it where it is missing or old. Returns the exit status."""
    given = sys.argv[1:] if arguments is None else list(arguments)
    name = given[0] if given else NAME
    try:
        client = docker.APIClient(
            base_url=os.environ.get("DOCKER_HOST"), version="auto", timeout=SECONDS_MAX
        )
        made = ensure(client, name)
    except APIError as refused:
        sys.stderr.write(f"Docker does not take the image {name}: {refused.explanation}\n")
        return 1
    except (DockerException, requests.RequestException):
        place = os.environ.get("DOCKER_HOST") or "/var/run/docker.sock"
        sys.stderr.write(f"Docker at {place} does not answer.\n")
        return 1
    sys.stdout.write(f"{name} {'is made' if made else 'is there'}.\n")
    return 0


def _root(interpreter: Path) -> bytes:
    standard = Path(sysconfig.get_path("stdlib"))
    installed = Path(sysconfig.get_path("purelib"))
    folders = [standard, *(installed / name for name in PACKAGES if (installed / name).is_dir())]
    loaded = [standard / "lib-dynload", *folders[1:]]
    binaries = [interpreter, *(file for folder in loaded for file in folder.rglob("*.so"))]
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as tar:
        tar.add(interpreter, inside(interpreter))
        tar.add(standard, inside(standard), filter=_wanted)
        for name in HOUSES:
            tar.add(ROOT / name, f"app/{name}", filter=_wanted)
        for folder in folders[1:]:
            tar.add(folder, f"app/{folder.name}", filter=_wanted)
        there = set(tar.getnames())  # docker refuses an archive with a path twice
        for library in sorted(libraries(binaries)):
            if inside(library) not in there:
                tar.add(library.resolve(), inside(library))
        tmp = tarfile.TarInfo("tmp")
        tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(tmp)
    return content.getvalue()


def _wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    name = Path(entry.name).name
    return None if name in LEFT_OUT or name.startswith("config-3") else entry


def _digest() -> str:
    """Of the code that goes in, and of the interpreter's version."""
    found = hashlib.sha256(sys.version.encode())
    for house in HOUSES:
        for file in sorted((ROOT / house).rglob("*.py")):
            found.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return found.hexdigest()[:32]


if __name__ == "__main__":
    sys.exit(main())
