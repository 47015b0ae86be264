"""The key of a lease's links: agent and gateways are told it, and nobody else."""

from __future__ import annotations

import hashlib
import hmac


class LinkKeys:
    """``secret`` is ``session_secret(master key)``. Keys are stored nowhere."""

    def __init__(self, secret: bytes) -> None:
        self._secret = hmac.new(secret, b"ganglion-links-v1", hashlib.sha256).digest()

    def of(self, lease_id: str, epoch: int) -> str:
        """64 hex digits. Another epoch of the lease has another key."""
        text = f"{lease_id}\n{epoch}".encode()
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()
