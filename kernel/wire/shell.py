"""A shell or command in a pod's container, over a link to port ``exec``.

Front -> agent first: one frame ``OPEN`` (:class:`Open` as JSON). Then both sides send frames
until ``EXIT`` (:class:`Exit`), which is the agent's last. Without a tty STDERR is told apart.

A frame: one byte of kind, four bytes of length (big endian), the payload.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from enum import IntEnum
from typing import Annotated

from msgspec import Meta, Struct

from kernel.errors import Malformed

FRAME_BYTES_MAX = 64 * 1024
_HEAD = struct.Struct(">BI")


class Kind(IntEnum):
    OPEN = 0
    STDIN = 1
    STDIN_END = 2
    STDOUT = 3
    STDERR = 4
    RESIZE = 5  # Size as JSON
    SIGNAL = 6  # a name without SIG, as in RFC 4254 section 6.9
    EXIT = 7


_KINDS = frozenset(map(int, Kind))


class Size(Struct, forbid_unknown_fields=True):
    columns: Annotated[int, Meta(ge=1, le=10_000)] = 80
    rows: Annotated[int, Meta(ge=1, le=10_000)] = 24


class Open(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """``command`` is given to the container's shell; empty = an interactive login shell."""

    command: Annotated[str, Meta(max_length=64 * 1024)] = ""
    tty: bool = False
    size: Size | None = None
    term: Annotated[str, Meta(max_length=64)] = "xterm-256color"
    environment: dict[str, str] = {}


class Exit(Struct, forbid_unknown_fields=True, omit_defaults=True):
    """``code`` of the process; ``reason`` when none could be started."""

    code: int
    reason: str = ""


def frame(kind: Kind, payload: bytes = b"") -> bytes:
    assert len(payload) <= FRAME_BYTES_MAX, "cut what is longer into several frames"
    return _HEAD.pack(kind, len(payload)) + payload


class Frames:
    """Bytes in as they come, whole frames out. Raises ``Malformed``."""

    def __init__(self) -> None:
        self._rest = b""

    def take(self, received: bytes) -> Iterator[tuple[Kind, bytes]]:
        self._rest += received
        while len(self._rest) >= _HEAD.size:
            number, size = _HEAD.unpack_from(self._rest)
            if size > FRAME_BYTES_MAX or number not in _KINDS:
                raise Malformed("What came over this link is no frame of a shell.")
            end = _HEAD.size + size
            if len(self._rest) < end:
                return
            payload, self._rest = self._rest[_HEAD.size : end], self._rest[end:]
            yield Kind(number), payload
