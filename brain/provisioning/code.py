"""The agent's code as rented machines fetch it: one zip, made once.

It holds kernel and node_agent, and the stand-in worker: so the model that costs nothing to try
runs on a rented machine as it does on a node. The boot image brings the libraries.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cache

from brain.marketplace import agent_sources, stored


@dataclass(frozen=True)
class AgentCode:
    content: bytes
    sha256: str


@cache
def agent_code() -> AgentCode:
    """The zip and its digest. Stored, not packed: packing differs between zlib's versions."""
    content = stored(agent_sources())
    return AgentCode(content, hashlib.sha256(content).hexdigest())
