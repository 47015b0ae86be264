"""Who this node is: its key pair, made here and never sent, and what the brain called it."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from typing import IO

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from msgspec import Struct

from kernel.errors import BadInput, Conflict
from node_agent.files import read_if_there, write_private


class Identity(Struct, frozen=True):
    node_id: str
    installation_id: str
    brain_url: str
    beat_seconds: int = 10


class NodeKey:
    """The node's Ed25519 key."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private

    @property
    def public_hex(self) -> str:
        return self._private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw).hex()

    def sign(self, message: bytes) -> bytes:
        return self._private.sign(message)


class Home:
    """AGENT_HOME: key, identity, state and the work's records; one agent at a time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: IO[bytes] | None = None

    @property
    def state_file(self) -> Path:
        return self.path / "state.json"

    @property
    def gateways_file(self) -> Path:
        return self.path / "gateways.json"

    @property
    def minutes_file(self) -> Path:
        return self.path / "minutes.json"

    @property
    def work(self) -> Path:
        return self.path / "work"

    def open(self) -> None:
        """Make the folder and lock it; ``Conflict`` while another agent uses it."""
        try:
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            lock = (self.path / "agent.lock").open("ab")
        except OSError as error:
            raise BadInput(
                f"{self.path} cannot be used as the agent's home: {error.strerror}."
                " Choose another with --home."
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.close()
            raise Conflict(f"Another agent already runs with the home {self.path}.") from None
        self._lock = lock

    def key(self) -> NodeKey:
        """The node's key; made, for its owner's eyes only, where there is none."""
        path = self._key_file
        return self._read_key(path) or _new_key(path)

    def spare_key(self) -> NodeKey | None:
        """The key of a rotation whose end is not known yet."""
        return self._read_key(self._spare_file)

    def make_spare_key(self) -> NodeKey:
        return _new_key(self._spare_file)

    def promote_spare_key(self) -> None:
        """The brain knows the spare key alone: it takes the place of the old one."""
        if self._spare_file.exists():
            os.utime(self._spare_file)
            self._spare_file.replace(self._key_file)

    def key_made_at(self) -> float:
        """Seconds since 1970 at which the key came into use, by this machine's clock."""
        return self._key_file.stat().st_mtime

    def rotation_asked(self) -> bool:
        return self._asked_file.exists()

    def ask_rotation(self, asked: bool) -> None:
        """A person's wish, for the agent that runs; it takes the wish away when it is done."""
        if asked:
            self._asked_file.touch(mode=0o600)
        else:
            self._asked_file.unlink(missing_ok=True)

    def _read_key(self, path: Path) -> NodeKey | None:
        content = read_if_there(path)
        if content is None:
            return None
        try:
            private = Ed25519PrivateKey.from_private_bytes(bytes.fromhex(content.decode()))
        except (ValueError, UnicodeDecodeError) as error:
            raise BadInput(
                f"{path} is not a node key. Restore it, or remove {self.path} and join anew."
            ) from error
        if path.stat().st_mode & 0o077:
            os.chmod(path, 0o600)
        return NodeKey(private)

    def identity(self) -> Identity | None:
        content = read_if_there(self._identity_file)
        if content is None:
            return None
        try:
            return msgspec.json.decode(content, type=Identity)
        except msgspec.MsgspecError as error:
            raise BadInput(f"{self._identity_file} is damaged: {error}.") from error

    @property
    def _key_file(self) -> Path:
        return self.path / "node.key"

    @property
    def _spare_file(self) -> Path:
        return self.path / "node.key.next"

    @property
    def _asked_file(self) -> Path:
        return self.path / "rotate.asked"

    def save_identity(self, identity: Identity) -> None:
        write_private(self._identity_file, msgspec.json.encode(identity))

    @property
    def _identity_file(self) -> Path:
        return self.path / "identity.json"


def _new_key(path: Path) -> NodeKey:
    made = Ed25519PrivateKey.generate()
    write_private(path, made.private_bytes_raw().hex().encode())
    return NodeKey(made)
