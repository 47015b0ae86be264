"""The agent's one file unpacks itself: ``python3 agent.pyz unpack ROOT SHA256 [--launcher]``.

This text is the file's ``__main__``, so it needs nothing but Python 3.11. It makes
``ROOT/versions/<sha256>`` with the agent's code and the wheels that fit this machine, in one
step: the folder is there whole or not at all. It prints that folder. With ``--launcher`` it
also puts this file's launcher in the place of the one that is there.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import platform
import shutil
import sys
import zipfile
from pathlib import Path

PYTHON_MIN = (3, 11)
BYTES_MAX = 256 << 20
LAUNCHER = ("__init__.py", "versions.py", "launcher.py")


class CannotUnpack(Exception):
    """One sentence for a person."""


def main(arguments: list[str]) -> int:
    """0 and the folder's name on standard output; 1 and one sentence on standard error."""
    try:
        if arguments[3:] not in ([], ["--launcher"]) or arguments[:1] != ["unpack"]:
            raise CannotUnpack("Use: python3 agent.pyz unpack FOLDER SHA256 [--launcher].")
        root = Path(arguments[1])
        made = unpack(Path(sys.argv[0]), root, arguments[2])
        if arguments[3:]:
            lay_launcher(made, root)
    except (CannotUnpack, OSError, zipfile.BadZipFile) as fault:
        sys.stderr.write(f"{fault}\n")
        return 1
    sys.stdout.write(f"{made}\n")
    return 0


def unpack(file: Path, root: Path, sha256: str) -> Path:
    """The version's folder below ``root``. May be repeated, and may be killed at any point."""
    if sys.version_info[:2] < PYTHON_MIN:
        raise CannotUnpack("The agent needs Python 3.11 or newer.")
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise CannotUnpack(f"{file} is not the file that was promised (SHA-256 differs).")
    versions = root / "versions"
    folder = versions / sha256
    if folder.is_dir():
        return folder
    draft = versions / f".{sha256}.{os.getpid()}"
    for left in versions.glob(".*"):
        shutil.rmtree(left, ignore_errors=True)
    (draft / "lib").mkdir(parents=True)
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            _unpack_all(archive, draft / "lib")
        os.sync()  # a power cut after the rename finds all of it
        draft.rename(folder)
        os.sync()
    except BaseException:
        shutil.rmtree(draft, ignore_errors=True)
        raise
    return folder


def lay_launcher(version: Path, root: Path) -> None:
    """Copy the launcher beside the versions, each file in one step."""
    into = root / "launcher" / "node_agent"
    into.mkdir(parents=True, exist_ok=True)
    for name in LAUNCHER:
        draft = into / f".{name}.{os.getpid()}"
        shutil.copyfile(version / "lib" / "node_agent" / name, draft)
        draft.replace(into / name)


def _unpack_all(archive: zipfile.ZipFile, into: Path) -> None:
    manifest = json.loads(archive.read("manifest.json"))
    wheels = [name for name in archive.namelist() if name.startswith("wheels/")]
    chosen = choose([Path(name).name for name in wheels], manifest["wheels"])
    taken = 0
    for name in sorted(chosen):
        with zipfile.ZipFile(io.BytesIO(archive.read(f"wheels/{name}"))) as wheel:
            taken += _extract(wheel, into, taken)
    taken += _extract(archive, into, taken, below="code/")
    (into / "manifest.json").write_bytes(archive.read("manifest.json"))


def choose(wheels: list[str], needed: list[str]) -> list[str]:
    """One wheel that fits this interpreter for each needed name."""
    chosen = {}
    for wheel in sorted(wheels):
        name, _, python, abi, place = wheel.removesuffix(".whl").rsplit("-", 4)
        if _fits(python, abi, place):
            chosen[name] = wheel
    missing = sorted(set(needed) - set(chosen))
    if missing:
        raise CannotUnpack(
            f"This agent is not made for CPython {sys.version_info[0]}.{sys.version_info[1]} on"
            f" {platform.machine()}: no wheel of {', '.join(missing)} fits."
        )
    return [chosen[name] for name in needed]


def _fits(python: str, abi: str, place: str) -> bool:
    minor = sys.version_info[1]
    pythons = python.split(".")
    if place != "any" and not (
        place.startswith("manylinux") and place.endswith(platform.machine())
    ):
        return False
    if abi == "none":
        return any(one in ("py3", f"py3{minor}", f"cp3{minor}") for one in pythons)
    if abi == "abi3":
        return any(one.startswith("cp3") and int(one[3:] or 0) <= minor for one in pythons)
    return f"cp3{minor}" in pythons and abi == f"cp3{minor}"


def _extract(archive: zipfile.ZipFile, into: Path, taken: int, *, below: str = "") -> int:
    """Write the members below a folder; how many bytes. Names that lead outside are refused."""
    written = 0
    for member in archive.infolist():
        if member.is_dir() or not member.filename.startswith(below):
            continue
        path = (into / member.filename[len(below) :]).resolve()
        if not path.is_relative_to(into.resolve()):
            raise CannotUnpack(f"The file holds a name that leads outside: {member.filename}.")
        written += member.file_size
        if taken + written > BYTES_MAX:
            raise CannotUnpack("The file holds more than an agent can be.")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(archive.read(member))
    return written


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
