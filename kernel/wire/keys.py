"""Brain <-> node agent: a node's new key, and the end of a node by its own agent.

POST /agent/v1/rotate   RotateRequest -> RotateAnswer   (both keys' signatures inside)
POST /agent/v1/leave    LeaveRequest -> LeaveAnswer     (HMAC headers, as wire.agent says)
"""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from kernel.wire.agent import VERSION, Short


class RotateRequest(Struct):
    """A new key for the node. Both signatures are over :func:`rotate_input`, hex.

    May be repeated: a brain that made the change answers the same again.
    """

    node_id: Short
    public_key: Annotated[str, Meta(min_length=64, max_length=64)]  # the new one, Ed25519, hex
    signature: Annotated[str, Meta(min_length=128, max_length=128)]  # by the key that it replaces
    proof: Annotated[str, Meta(min_length=128, max_length=128)]  # by the new key
    v: int = VERSION


class RotateAnswer(Struct):
    """From now on only the new key opens sessions; those of the old one are over."""

    public_key: str
    v: int = VERSION


class LeaveRequest(Struct):
    """The agent is being taken off this host: its node is revoked and its leases end."""

    reason: Annotated[str, Meta(max_length=200)] = ""
    v: int = VERSION


class LeaveAnswer(Struct):
    leases_ending: int = 0
    v: int = VERSION


def rotate_input(node_id: str, public_key: str) -> bytes:
    """The bytes that both keys sign for a rotation."""
    return f"ganglion-rotate-v1\n{node_id}\n{public_key}".encode()
