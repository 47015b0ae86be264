"""What lies in a folder whose files come and go meanwhile."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path


def contents(folder: Path, *wanted: Path) -> dict[Path, bytes]:
    """Every file below it and what it holds, without those that go as we look. Nothing, where one
    of ``wanted`` was missed: a file that is put in another's place may not be listed just then."""
    found = {}
    for parent, _, names in os.walk(folder):
        for name in names:
            path = Path(parent, name)
            with suppress(FileNotFoundError):
                found[path] = path.read_bytes()
    return found if set(wanted) <= set(found) else {}
