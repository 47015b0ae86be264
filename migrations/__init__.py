"""Alembic migrations: one file a room, one head, forward and back."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

VERSIONS = Path(__file__).parent / "versions"
_REVISION = re.compile(r"^revision(?:: str)? = \"(\w+)\"", re.MULTILINE)
_DOWN = re.compile(r"^down_revision(?:: [^=]+)? = \"(\w+)\"", re.MULTILINE)


@cache
def known_revisions(folder: Path = VERSIONS) -> tuple[frozenset[str], str]:
    """All revisions of this copy, and the newest: the one that no other follows.

    Read without Alembic, which takes longer to import than a brain's whole start should.
    """
    texts = [path.read_text() for path in sorted(folder.glob("[0-9]*.py"))]
    revisions = frozenset(found[1] for text in texts if (found := _REVISION.search(text)))
    followed = {found[1] for text in texts if (found := _DOWN.search(text))}
    heads = revisions - followed
    assert len(heads) == 1, f"one newest migration, found {sorted(heads)}"
    return revisions, next(iter(heads))
