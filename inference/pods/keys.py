"""Whether a public key stands in the lines of an account's authorized keys. Pure."""

from __future__ import annotations

import binascii
import hmac
from collections.abc import Iterable

PREFIXES = ("ssh-ed25519", "ssh-rsa", "ecdsa-sha2-", "sk-ssh-ed25519", "sk-ecdsa-sha2-")


def holds(lines: Iterable[str], blob: bytes) -> bool:
    """``blob`` is the key as it travels in SSH. Lines that are no plain keys count for nothing:
    none with options, no certificates, no authorities."""
    return any(hmac.compare_digest(known, blob) for known in map(_blob, lines) if known)


def _blob(line: str) -> bytes:
    words = line.split()
    if len(words) < 2 or not words[0].startswith(PREFIXES) or "-cert-" in words[0]:
        return b""
    try:
        return binascii.a2b_base64(words[1].encode("ascii"), strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        return b""
