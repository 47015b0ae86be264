"""Versioned messages between brain and agent (``agent``) and brain and gateway (``gateway``).

Ids travel as text and are parsed where they enter. Messages may grow fields, always with a default:
agents and brains of different ages meet (a host takes an update when it can, a brain may be put
back), so what one does not know of the other's message it ignores. What it does know must be there,
of its type and within its limits. What *gateways* send, which are updated with their brain, is
refused when it holds a field that is not known.
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
