"""Every kind of id, one line each: a prefix and a UUIDv7, so that ids sort by birth.

An id is a ``str`` subclass: it travels through JSON, SQL and logs as text such as
``pod_019a0c4e5f1e7cc8a2b37d3a1f0e9b44`` and is told apart by type in code.
"""

from __future__ import annotations

import os
import random
import re
from typing import ClassVar, Protocol, Self, TypeVar
from uuid import UUID

from kernel.clock import Clock
from kernel.errors import BadInput

_BODY = re.compile(r"[0-9a-f]{32}\Z")


class Id(str):
    """A typed id. Make one with :meth:`parse` (from outside) or ``Ids.new`` (a fresh one)."""

    __slots__ = ()
    prefix: ClassVar[str] = ""

    @classmethod
    def parse(cls, text: object) -> Self:
        """Return the id, or raise ``BadInput`` naming the expected shape."""
        if isinstance(text, str) and text.startswith(cls.prefix + "_"):
            body = text[len(cls.prefix) + 1 :]
            if _BODY.match(body):
                return cls(text)
        shown = repr(text)[:60]
        raise BadInput(f"{shown} is not an id of the form {cls.prefix}_<32 hex digits>.")

    @classmethod
    def of(cls, uuid: UUID) -> Self:
        return cls(f"{cls.prefix}_{uuid.hex}")

    @property
    def uuid(self) -> UUID:
        return UUID(hex=self.rsplit("_", 1)[1])


class AccountId(Id):
    prefix = "acct"


class UserId(Id):
    prefix = "user"


class KeyId(Id):
    prefix = "key"


class NodeId(Id):
    prefix = "node"


class LeaseId(Id):
    prefix = "lease"


class DeploymentId(Id):
    prefix = "dep"


class ReplicaId(Id):
    prefix = "rep"


class PodId(Id):
    prefix = "pod"


class VolumeId(Id):
    prefix = "vol"


class SecretId(Id):
    prefix = "sec"


class SshKeyId(Id):
    prefix = "sshkey"


class RegistryId(Id):
    """Credentials for a registry of images."""

    prefix = "reg"


class CheckId(Id):
    """One seeded check of a node's GPU."""

    prefix = "check"


class WindowId(Id):
    """A maintenance window of a node."""

    prefix = "window"


class DisputeId(Id):
    prefix = "dispute"


class RequestId(Id):
    prefix = "req"


class HoldId(Id):
    prefix = "hold"


class TxId(Id):
    prefix = "tx"


class TokenId(Id):
    prefix = "join"


class BootId(Id):
    prefix = "boot"


class IntentId(Id):
    """Our wish for one rented machine, written before the cloud is called."""

    prefix = "intent"


class TopUpId(Id):
    """Money that an account pays in."""

    prefix = "topup"


class RefundId(Id):
    """Money of a top-up that goes back: a refund or a dispute."""

    prefix = "refund"


class PayoutId(Id):
    """Earnings that are paid to a provider."""

    prefix = "payout"


class InvoiceId(Id):
    """A document: an invoice, a receipt, a credit note."""

    prefix = "inv"


class CostId(Id):
    """One cost that was recorded."""

    prefix = "cost"


class WorkId(Id):
    prefix = "work"


class EventId(Id):
    prefix = "evt"


IdT = TypeVar("IdT", bound=Id)


class Ids(Protocol):
    """Where new ids come from; injected, so that a simulation replays by seed."""

    def new(self, kind: type[IdT]) -> IdT: ...


def uuid7(unix_ms: int, chance: int) -> UUID:
    """RFC 9562 version 7: 48 bits of Unix milliseconds, then 74 bits of chance."""
    return UUID(int=_uuid7_bits(unix_ms, chance))


def _uuid7_bits(unix_ms: int, chance: int) -> int:
    value = (unix_ms & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76 | ((chance >> 62) & 0xFFF) << 64
    return value | 0b10 << 62 | (chance & ((1 << 62) - 1))


class SystemIds:
    """Ids from the clock and the operating system's chance."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock

    def new(self, kind: type[IdT]) -> IdT:
        chance = int.from_bytes(os.urandom(10), "big")
        bits = _uuid7_bits(self._clock.now_ns() // 1_000_000, chance)
        return kind(f"{kind.prefix}_{bits:032x}")  # every posting and request asks for one


class SeededIds:
    """The same ids for the same seed and clock: for tests and simulations only."""

    def __init__(self, clock: Clock, seed: int) -> None:
        self._clock = clock
        self._chance = random.Random(seed)

    def new(self, kind: type[IdT]) -> IdT:
        chance = self._chance.getrandbits(80)
        return kind.of(uuid7(self._clock.now_ns() // 1_000_000, chance))
