"""The agent as hosts fetch it: one file that holds our code and the wheels that it needs.

``python3 agent.pyz unpack FOLDER SHA256`` unpacks it; anything that changes in it changes its
SHA-256, which is its name. The wheels come from ``AGENT_WHEELS_DIR`` where that is set (made by
``tools/agent_wheels.py`` for several Pythons and machines), else from what is installed beside
the brain, which serves the brain's own Python and machine alone.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

from kernel.errors import Unavailable

VERSION = "0.1.0"
# What node_agent imports, with all that these import; a test compares it with their metadata.
NEEDED = (
    "anyio",
    "certifi",
    "cffi",
    "charset_normalizer",
    "cryptography",
    "docker",
    "h11",
    "httpcore",
    "httpx",
    "idna",
    "msgspec",
    "nvidia_ml_py",
    "psutil",
    "pycparser",
    "requests",
    "structlog",
    "tenacity",
    "typing_extensions",
    "urllib3",
)
SOURCES = (
    ("kernel", "**/*.py"),
    ("node_agent", "**/*.py"),
    ("standins", "__init__.py"),
    ("standins", "worker/**/*.py"),
)
MADE = (1980, 1, 1, 0, 0, 0)  # the same bytes in every process, so that a digest can be pinned
_NOT_SHIPPED = ("/tests/", "/test/", "/__pycache__/", ".pyc", ".pyi")


@dataclass(frozen=True)
class AgentFile:
    """``platforms`` such as ``cp311-x86_64``: an interpreter and a machine that it runs on."""

    content: bytes
    sha256: str
    version: str
    platforms: tuple[str, ...]

    @property
    def full_version(self) -> str:
        """As its agents tell it in their beats."""
        return full_version(self.version, self.sha256)


def full_version(version: str, sha256: str) -> str:
    return f"{version}+{sha256[:12]}"


@cache
def agent_file(wheels_dir: str = "") -> AgentFile:
    """The file that this brain hands out; made once a process, in about a second.

    ``Unavailable`` where a wheel is missing: the words say which.
    """
    wheels = dict(sorted((_given(wheels_dir) if wheels_dir else installed_wheels()).items()))
    return pack(agent_sources(), wheels, VERSION)


def agent_sources() -> dict[str, bytes]:
    """Our own code by its name in an archive: kernel, node_agent and the stand-in worker.

    The stand-in comes along so that the model that costs nothing to try runs on any node.
    """
    found = {}
    for house, pattern in SOURCES:
        root = _folder(house)
        for path in sorted(root.glob(pattern)):
            found[f"{house}/{path.relative_to(root).as_posix()}"] = path.read_bytes()
    return found


def stored(files: dict[str, bytes], *, packed: bool = False) -> bytes:
    """A zip of these files, the same bytes for the same files."""
    made = io.BytesIO()
    kind = zipfile.ZIP_DEFLATED if packed else zipfile.ZIP_STORED
    with zipfile.ZipFile(made, "w", kind) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, MADE), content, compress_type=kind)
    return made.getvalue()


def pack(code: dict[str, bytes], wheels: dict[str, bytes], version: str) -> AgentFile:
    """One file of code and wheels (by file name)."""
    names = sorted({name.split("-")[0] for name in wheels})
    platforms = served(wheels)
    manifest = {"version": version, "wheels": names, "platforms": platforms}
    content = stored(
        {
            "__main__.py": code["node_agent/unpack.py"],
            "manifest.json": json.dumps(manifest, indent=1, sort_keys=True).encode(),
            **{f"code/{name}": body for name, body in code.items()},
            **{f"wheels/{name}": body for name, body in wheels.items()},
        }
    )
    return AgentFile(content, hashlib.sha256(content).hexdigest(), version, tuple(platforms))


def served(wheels: Iterable[str]) -> list[str]:
    """Interpreter and machine pairs for which every wheel that is not pure is there."""
    found: dict[str, set[str]] = {}
    for wheel in wheels:
        name, _, python, abi, place = wheel.removesuffix(".whl").rsplit("-", 4)
        if place == "any":
            continue
        machine = place.split("manylinux")[-1].split("_", 3)[-1]
        pythons = [f"cp3{minor}" for minor in range(11, 15)] if abi == "abi3" else [python]
        found.setdefault(name, set()).update(f"{one}-{machine}" for one in pythons)
    return sorted(set.intersection(*found.values())) if found else []


def _given(folder: str) -> dict[str, bytes]:
    """Wheels from a folder, all that the agent needs and nothing else."""
    found = {
        path.name: path.read_bytes()
        for path in sorted(Path(folder).glob("*.whl"))
        if path.name.split("-")[0].lower() in NEEDED
    }
    _check_whole({name.split("-")[0].lower() for name in found}, f"in AGENT_WHEELS_DIR ({folder})")
    return found


@cache
def installed_wheels() -> dict[str, bytes]:
    """Wheels made anew from what is installed beside the brain."""
    found = {}
    for name in NEEDED:
        try:
            one = metadata.distribution(name)
        except metadata.PackageNotFoundError:
            continue
        found[_wheel_name(name, one)] = stored(dict(_wheel_files(one)), packed=True)
    _check_whole({wheel.split("-")[0] for wheel in found}, "installed beside the brain")
    return found


def _check_whole(names: set[str], where: str) -> None:
    missing = sorted(set(NEEDED) - names)
    if missing:
        raise Unavailable(f"The agent cannot be packed: {', '.join(missing)} not {where}.")


def _wheel_name(name: str, one: metadata.Distribution) -> str:
    lines = (one.read_text("WHEEL") or "").splitlines()
    tags = [line.removeprefix("Tag: ") for line in lines if line.startswith("Tag: ")]
    tag = tags[0] if tags else "py3-none-any"
    return f"{name}-{one.version}-{tag}.whl"


def _wheel_files(one: metadata.Distribution) -> Iterator[tuple[str, bytes]]:
    for file in sorted(one.files or [], key=str):
        name = file.as_posix()
        told = name.endswith((".dist-info/METADATA", ".dist-info/entry_points.txt"))
        if name.startswith("..") or any(part in f"/{name}" for part in _NOT_SHIPPED):
            continue
        if ".dist-info/" in name and not told and "licenses" not in name:
            continue
        yield name, Path(str(file.locate())).read_bytes()


def _folder(house: str) -> Path:
    """Where a house lies; it is read as text, never imported."""
    spec = find_spec(house)
    assert spec is not None, f"{house} ships with the brain"
    assert spec.submodule_search_locations, f"{house} is a package"
    return Path(next(iter(spec.submodule_search_locations)))
