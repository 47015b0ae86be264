"""Versioned messages between brain and agent (``agent``) and brain and gateway (``gateway``).

Ids travel as text and are parsed where they enter. Messages that come *to* the brain refuse
unknown fields; messages *from* the brain may grow fields, which an older reader ignores.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from kernel.errors import Malformed

T = TypeVar("T")


def _plain(value: object) -> str:
    """Typed ids are text with a type; msgspec itself encodes exact ``str`` only."""
    if isinstance(value, str):
        return str(value)
    raise TypeError(f"{type(value).__name__} does not travel")


_ENCODER = msgspec.json.Encoder(enc_hook=_plain)


def encode(message: object) -> bytes:
    """Compact JSON."""
    return _ENCODER.encode(message)


def decode(data: bytes, kind: type[T]) -> T:
    """The message, or ``Malformed`` naming the field and what was expected there."""
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        raise Malformed(f"Not a valid {kind.__name__} message: {error}.") from None
