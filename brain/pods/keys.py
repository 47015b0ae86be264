"""SSH public keys as people paste them: read, checked for strength, and kept in one form."""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.dsa import DSAPublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_ssh_public_key

from kernel.errors import BadInput

LINE_CHARS_MAX: Final = 8192
RSA_BITS_MIN: Final = 2048
_WRONG = (
    "This is no SSH public key. Paste the one line of a .pub file, such as"
    " 'ssh-ed25519 AAAA... you@host'; never a private key."
)


@dataclass(frozen=True)
class PublicKey:
    """``line`` is type and key, as in authorized_keys; ``comment`` what stood behind them."""

    line: str
    fingerprint: str
    comment: str


def read_key(text: str) -> PublicKey:
    """One line of a .pub file. ``BadInput`` says what is wrong; the text is never quoted."""
    words = text.strip().split(None, 2)
    if len(text) > LINE_CHARS_MAX or "\n" in text.strip() or len(words) < 2:
        raise _refused(_WRONG)
    kind, packed = words[0], words[1]
    try:
        key = load_ssh_public_key(f"{kind} {packed}".encode("ascii"))
        blob = base64.b64decode(packed, validate=True)
    except (ValueError, UnsupportedAlgorithm, binascii.Error, UnicodeEncodeError):
        raise _refused(_WRONG) from None
    if isinstance(key, DSAPublicKey):
        raise _refused("DSA keys are broken. Make a new one: ssh-keygen -t ed25519.")
    if isinstance(key, RSAPublicKey) and key.key_size < RSA_BITS_MIN:
        raise _refused(
            f"This RSA key has {key.key_size} bits; {RSA_BITS_MIN} at least. Make a new one:"
            " ssh-keygen -t ed25519."
        )
    digest = base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=")
    comment = "".join(c for c in (words[2] if len(words) > 2 else "") if c.isprintable())
    return PublicKey(f"{kind} {packed}", f"SHA256:{digest}", comment[:100])


def _refused(sentence: str) -> BadInput:
    return BadInput(sentence, param="public_key")
