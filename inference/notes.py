"""What the spool holds, as bytes: small fixed records, so that a request costs little to note.

``C`` a target, once in each file that names it; ``O`` an open piece; ``S`` a finished piece;
``T`` a tick: all that was open then was alive. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct
from typing import Any

import msgspec

from inference.meter import Residence, Target
from kernel.wire.gateway import Segment, SegmentEnd, segment_key

TARGET, OPEN, PIECE, TICK = b"C", b"O", b"S", b"T"

# kind, request, target, attempt, number, start, weight, day, slice
_OPEN = Struct("<c16sIHIQHI16s")
# and of a finished piece: end, kind of end, status, prompt tokens, completion tokens, estimated
_END = Struct("<QBHQQ?")
_PIECE = Struct("<c16sIHIQHI16sQBHQQ?")
_TICK = Struct("<cQ")
_NO_SLICE = bytes(16)
_ENDS = tuple(SegmentEnd)
_END_NUMBERS = {end: number for number, end in enumerate(_ENDS)}
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Target).decode
_open, _end = _OPEN.pack, _END.pack
_bytes = bytes.fromhex


@dataclass(frozen=True, slots=True)
class Opened:
    """An open piece; its segment ends where it starts."""

    segment: Segment


@dataclass(frozen=True, slots=True)
class Finished:
    segment: Segment


@dataclass(frozen=True, slots=True)
class Ticked:
    at_ns: int


Note = Opened | Finished | Ticked


def target_note(target: Target) -> bytes:
    return TARGET + _encode(target)


def tick_note(at_ns: int) -> bytes:
    return _TICK.pack(TICK, at_ns)


def open_note(one: Residence) -> bytes:
    note = _open(
        OPEN,
        _bytes(one.request_id[4:]),
        one.target.number,
        one.attempt,
        one.number,
        one.start_ns,
        one.weight,
        one.day,
        _bytes(one.slice_id[5:]) if one.slice_id else _NO_SLICE,
    )
    one.noted = note[1:]
    return note


def piece_note(one: Residence) -> bytes:
    if not one.noted:
        open_note(one)
    return (
        PIECE
        + one.noted
        + _end(
            one.end_ns,
            _END_NUMBERS[one.end],
            one.status,
            one.prompt_tokens,
            one.completion_tokens,
            one.estimated,
        )
    )


class Reader:
    """Reads the notes of one file of one boot, in order."""

    def __init__(self, boot_id: str) -> None:
        self._boot_id = boot_id
        self._targets: dict[int, Target] = {}

    def read(self, payload: bytes, *, finished_only: bool = False) -> Note | None:
        """The note; ``None`` for a target, and for what is not asked for."""
        kind = payload[:1]
        if kind == PIECE:
            *head, end_ns, end, status, prompt, completion, estimated = _PIECE.unpack(payload)
            segment = self._segment(head, end_ns)
            segment.end = _ENDS[end]
            segment.status = status
            segment.prompt_tokens = prompt
            segment.completion_tokens = completion
            segment.tokens_estimated = estimated
            return Finished(segment)
        if kind == TARGET:
            target = _decode(payload[1:])
            self._targets[target.number] = target
        elif finished_only:
            return None
        elif kind == OPEN:
            head = list(_OPEN.unpack(payload))
            return Opened(self._segment(head, end_ns=head[5]))
        elif kind == TICK:
            return Ticked(_TICK.unpack(payload)[1])
        return None

    def _segment(self, head: list[Any], end_ns: int) -> Segment:
        _, request, number, attempt, piece, start_ns, weight, day, hold = head
        target = self._targets[number]
        request_id = f"req_{request.hex()}"
        return Segment(
            key=segment_key(request_id, attempt, piece),
            day=f"{day // 10000:04d}-{day // 100 % 100:02d}-{day % 100:02d}",
            boot_id=self._boot_id,
            request_id=request_id,
            account_id=target.account_id,
            key_id=target.key_id,
            deployment_id=target.deployment_id,
            replica_id=target.replica_id,
            lease_id=target.lease_id,
            epoch=target.epoch,
            attempt=attempt,
            number=piece,
            start_ns=start_ns,
            end_ns=end_ns,
            weight=weight,
            model=target.model,
            route=target.route,
            slice_id=f"hold_{hold.hex()}" if hold != _NO_SLICE else None,
        )
