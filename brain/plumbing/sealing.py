"""Secrets at rest: sealed with a key derived from the master key, bound to what they are for.

AES-256-GCM with a fresh 96-bit nonce each time (NIST SP 800-38D); the purpose and the owner are
associated data, so that a sealed value moved to another row does not open there.
"""

from __future__ import annotations

import hashlib
import hmac
import os

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kernel.errors import Conflict

_VERSION = b"\x01"
_NONCE_BYTES = 12


class Sealer:
    """Seals and opens; made once by wiring from the installation's master key."""

    def __init__(self, master_key: bytes) -> None:
        key = hmac.new(master_key, b"ganglion sealing v1", hashlib.sha256).digest()
        self._box = AESGCM(key)

    def seal(self, secret: bytes, bound_to: str) -> bytes:
        """``bound_to`` names purpose and owner, as in ``secret/<account>/<name>``."""
        nonce = os.urandom(_NONCE_BYTES)
        return _VERSION + nonce + self._box.encrypt(nonce, secret, bound_to.encode())

    def open(self, sealed: bytes, bound_to: str) -> bytes:
        """Raises ``Conflict`` when it was sealed with another master key or for something else."""
        nonce, rest = sealed[1 : 1 + _NONCE_BYTES], sealed[1 + _NONCE_BYTES :]
        try:
            if sealed[:1] != _VERSION:
                raise InvalidTag
            return self._box.decrypt(nonce, rest, bound_to.encode())
        except (InvalidTag, ValueError):
            raise Conflict(
                "A sealed secret does not open: it was sealed with another master key."
                " Set it again.",
                code="secret_unreadable",
            ) from None
