"""The agent's code as rented machines fetch it: one zip, made once.

It holds kernel and node_agent, and the stand-in worker: so the model that costs nothing to try
runs on a rented machine as it does on a node.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec
from pathlib import Path

PARTS = (
    ("kernel", "**/*.py"),
    ("node_agent", "**/*.py"),
    ("standins", "__init__.py"),
    ("standins", "worker/**/*.py"),
)
MADE = (1980, 1, 1, 0, 0, 0)  # the same bytes in every process, so that a digest can be pinned


@dataclass(frozen=True)
class AgentCode:
    content: bytes
    sha256: str


@cache
def agent_code() -> AgentCode:
    """The zip and its digest. Stored, not packed: packing differs between zlib's versions."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for house, pattern in PARTS:
            root = _folder(house)
            for path in sorted(root.glob(pattern)):
                name = f"{house}/{path.relative_to(root).as_posix()}"
                archive.writestr(zipfile.ZipInfo(name, MADE), path.read_bytes())
    content = packed.getvalue()
    return AgentCode(content, hashlib.sha256(content).hexdigest())


def _folder(house: str) -> Path:
    """Where a house lies; it is read as text, never imported."""
    spec = find_spec(house)
    assert spec is not None, f"{house} ships with the brain"
    assert spec.submodule_search_locations, f"{house} is a package"
    return Path(next(iter(spec.submodule_search_locations)))
