"""Pure: which node's turn an update of the agent is, and when a wave is broken off."""

from __future__ import annotations

import hashlib

HOUR_NS = 3_600 * 10**9
FAILURES_MIN = 3
FAILED_SHARE_MAX = 0.2


def place(node_id: str, sha256: str) -> float:
    """Where in this file's wave the node stands, in [0, 1)."""
    digest = hashlib.sha256(f"{sha256} {node_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def due(place: float, passed_ns: int, percent_per_hour: float) -> bool:
    """Whether the wave has come to a place, so long after it began. 0 percent: never."""
    return place < passed_ns / HOUR_NS * percent_per_hour / 100


def halted(*, failed: int, tried: int) -> bool:
    """Too many nodes took the file back: a person should look before the others try it."""
    return failed >= FAILURES_MIN and failed > tried * FAILED_SHARE_MAX
