"""Pure parts of an agent's session: the id that carries it, its key, and sequence numbers.

A session is stored nowhere. Its id says which node, agent start and host boot it is for and
when it ends; its key is an HMAC of the id under the brain's secret. Who makes up an id does not
know its key, and any brain process can check a call.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
from dataclasses import dataclass

import msgspec

from kernel.errors import Unauthenticated
from kernel.ids import NodeId

LASTS_SECONDS = 3600
WINDOW = 64  # how far calls may overtake each other on their way


class _Claims(msgspec.Struct, array_like=True, forbid_unknown_fields=True):
    node: str
    start: str
    boot: str
    expires_s: int


@dataclass(frozen=True)
class Session:
    """Who makes a call. ``key`` signs it."""

    session_id: str
    node_id: NodeId
    agent_start_id: str
    host_boot_id: str
    expires_ns: int
    key: bytes


def session_secret(master_key: bytes) -> bytes:
    """The secret of all session keys, derived from the installation's master key."""
    return hmac.new(master_key, b"ganglion-agent-sessions-v1", hashlib.sha256).digest()


def new_session(
    secret: bytes, *, node_id: NodeId, agent_start_id: str, host_boot_id: str, now_ns: int
) -> Session:
    expires_s = now_ns // 1_000_000_000 + LASTS_SECONDS
    claims = _Claims(str(node_id), agent_start_id, host_boot_id, expires_s)
    text = base64.urlsafe_b64encode(msgspec.json.encode(claims)).decode().rstrip("=")
    return read_session(secret, text)


def read_session(secret: bytes, session_id: str) -> Session:
    """The session that an id stands for. Whether the caller has its key is for the MAC to say."""
    try:
        padded = session_id + "=" * (-len(session_id) % 4)
        claims = msgspec.json.decode(base64.urlsafe_b64decode(padded), type=_Claims)
        node_id = NodeId.parse(claims.node)
    except Exception as error:
        raise Unauthenticated(
            "This session is not known; open one with POST /agent/v1/session.",
            code="session_unknown",
            internal=type(error).__name__,
        ) from None
    return Session(
        session_id=session_id,
        node_id=node_id,
        agent_start_id=claims.start,
        host_boot_id=claims.boot,
        expires_ns=claims.expires_s * 1_000_000_000,
        key=hmac.new(secret, session_id.encode(), hashlib.sha256).digest(),
    )


class Sequence:
    """Each number once, each within a window below the highest: replays are refused, calls that
    overtake each other on two connections are not."""

    def __init__(self, highest: int = 0) -> None:
        self.highest = highest
        self._seen = (1 << WINDOW) - 1  # all that was before is taken as used

    def take(self, number: int) -> bool:
        """True when the number was not used before."""
        if number > self.highest:
            step = min(number - self.highest, WINDOW)
            self._seen = ((self._seen << step) | 1) & ((1 << WINDOW) - 1)
            self.highest = number
            return True
        behind = self.highest - number
        if number < 1 or behind >= WINDOW or self._seen >> behind & 1:
            return False
        self._seen |= 1 << behind
        return True
