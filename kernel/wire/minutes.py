"""What a node says of each lease's time: signed records of a minute each, in a chain.

POST /agent/v1/minutes   MinuteBatch -> MinuteAnswer   (HMAC headers, as in ``wire.agent``)

A record holds the hash of the one before it, and the node's key signs it, so that what was said
once can be neither changed nor left out later. Times are of the node's boot clock; they are data.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from msgspec import Meta, Struct

from kernel.wire.agent import Count, Nanoseconds, Short

RECORDS_MAX = 500
MINUTE_NS_MAX = 120 * 10**9  # a record spans a minute; a little more when the agent was slow

Digest = Annotated[str, Meta(min_length=64, max_length=64)]


class Minute(Struct):
    """``container_ns``: the lease's work was seen running. ``gpu_ns``: of that, the time of each
    of its GPUs that was there, summed. ``previous``: the hash of the record before; 64 zeros for
    the first. ``signature``: Ed25519 over :func:`minute_input`, hex."""

    lease_id: Short
    epoch: Count
    number: Count
    start_ns: Nanoseconds
    end_ns: Nanoseconds
    container_ns: Nanoseconds
    gpu_ns: Nanoseconds
    previous: Digest
    signature: Annotated[str, Meta(max_length=128)] = ""


class MinuteBatch(Struct):
    records: Annotated[list[Minute], Meta(max_length=RECORDS_MAX)]


class MinuteAnswer(Struct):
    """``kept``: of each lease the number up to which records are kept; what is below may be
    forgotten. ``refused``: leases of which no record is taken any more, and why."""

    kept: dict[str, int]
    refused: dict[str, str] = {}


FIRST = "0" * 64


def minute_input(node_id: str, record: Minute) -> bytes:
    """The bytes that the node's key signs."""
    parts = (
        "ganglion-minute-v1",
        node_id,
        record.lease_id,
        record.epoch,
        record.number,
        record.start_ns,
        record.end_ns,
        record.container_ns,
        record.gpu_ns,
        record.previous,
    )
    return "\n".join(str(part) for part in parts).encode()


def minute_hash(node_id: str, record: Minute) -> str:
    """The record's hash, that the next one holds."""
    return hashlib.sha256(minute_input(node_id, record)).hexdigest()


@dataclass(frozen=True)
class Chain:
    """The end of a lease's chain, and what its records sum to."""

    number: int = 0
    head: str = FIRST
    end_ns: int = 0
    container_ns: int = 0
    gpu_ns: int = 0

    def and_then(self, node_id: str, record: Minute) -> Chain:
        """The chain with one more record, whose :func:`fault` is empty."""
        return Chain(
            number=record.number + 1,
            head=minute_hash(node_id, record),
            end_ns=record.end_ns,
            container_ns=self.container_ns + record.container_ns,
            gpu_ns=self.gpu_ns + record.gpu_ns,
        )


def fault(
    chain: Chain,
    record: Minute,
    *,
    node_id: str,
    gpus: int,
    signed: Callable[[bytes, bytes], bool],
) -> str:
    """Why a record cannot be the chain's next one; empty when it can.

    ``signed(message, signature)`` says whether the node's key made the signature.
    """
    span_ns = record.end_ns - record.start_ns
    if record.number != chain.number:
        return f"record {record.number} came where {chain.number} was due"
    if record.previous != chain.head:
        return f"record {record.number} does not hold the hash of the one before it"
    if not 0 <= span_ns <= MINUTE_NS_MAX or record.start_ns < chain.end_ns:
        return f"record {record.number} does not follow the one before it in time"
    if record.container_ns > span_ns or record.gpu_ns > record.container_ns * gpus:
        return f"record {record.number} counts more than its time holds"
    try:
        signature = bytes.fromhex(record.signature)
    except ValueError:
        signature = b""
    if not signed(minute_input(node_id, record), signature):
        return f"the signature of record {record.number} is not the node's"
    return ""
