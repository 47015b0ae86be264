"""The key by which clients know this front: made at the first start, and kept."""

from __future__ import annotations

import os
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

NAME = "ssh_host_ed25519_key"


def host_key(folder: Path) -> Path:
    """The private key's file, in OpenSSH's format. Raises ``OSError`` when it cannot be kept.

    Safe for several processes at once: all get the key of the first.
    """
    place = folder / NAME
    if place.exists():
        return place
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    draft = folder / f"{NAME}.{os.getpid()}"
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(handle, "wb") as file:
        file.write(private)
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(draft, place)  # fails where another process was first
        (folder / f"{NAME}.pub").write_bytes(public + b"\n")
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    return place
