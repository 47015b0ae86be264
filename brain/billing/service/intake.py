"""Takes in the pieces of a batch of usage: counted, or parked with the reason why not."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime

from msgspec import to_builtins
from sqlalchemy.exc import DBAPIError

from brain.billing.core.intake import Aside, aside
from brain.billing.store import days, gateways, segments
from brain.billing.store.segments import Mapped, Parked
from brain.plumbing import Tx
from kernel.errors import BadInput
from kernel.ids import AccountId, DeploymentId, LeaseId, ReplicaId
from kernel.wire.gateway import Segment, segment_key

# Classes of PostgreSQL's codes: a value that it cannot keep, a constraint that is not met.
_REFUSALS = ("22", "23")


@dataclass(frozen=True)
class Times:
    """When the batch came, and how many days of usage are kept."""

    now: datetime
    now_ns: int
    kept_days: int


@dataclass(frozen=True)
class Taken:
    """``counted``: new ones. ``parked`` are not written yet, and may be known."""

    counted: int
    parked: list[Parked]


TakeIn = Callable[[Tx, Sequence[Segment], Times], Awaitable[Taken]]


def refused(error: DBAPIError) -> bool:
    """Is a value at fault, so that the same statement will never do?"""
    return str(getattr(error.orig, "sqlstate", None) or "")[:2] in _REFUSALS


async def take_in(tx: Tx, reported: Sequence[Segment], times: Times) -> Taken:
    """All at once. Raises what the database raises."""
    offsets = await gateways.offsets(tx, sorted({s.boot_id for s in reported}))
    epochs = await segments.epochs(tx, sorted({s.lease_id for s in reported}))
    counted, parked = list[Mapped](), list[Parked]()
    for segment in reported:
        mapped = _map(segment, offsets, epochs)
        if isinstance(mapped, Mapped) and not days.taken(
            mapped.day, times.now.date(), times.kept_days
        ):
            mapped = "its day is gone"
        if isinstance(mapped, str):
            parked.append(_parked(segment, mapped))
        else:
            counted.append(mapped)
    return Taken(await segments.append(tx, counted, times.now_ns), parked)


async def take_in_parts(tx: Tx, reported: Sequence[Segment], times: Times) -> Taken:
    """As ``take_in``, with each piece that the database refuses parked. Takes the batch in halves
    until such a piece is alone: for the rare batch that has one."""
    counted, parked = 0, list[Parked]()
    parts = [list(reported)]
    while parts:
        part = parts.pop()
        try:
            async with tx.begin_nested():
                taken = await take_in(tx, part, times)
        except DBAPIError as error:
            if not refused(error):
                raise
            if len(part) == 1:
                parked.append(set_aside(aside(part[0], f"it cannot be kept: {error.orig}")))
            else:
                half = len(part) // 2
                parts += [part[half:], part[:half]]
        else:
            counted += taken.counted
            parked += taken.parked
    return Taken(counted, parked)


def set_aside(one: Aside) -> Parked:
    payload = {"request_id": one.request_id, "content": one.content}
    return Parked(one.key, one.reason, payload)


def _parked(segment: Segment, reason: str) -> Parked:
    own = segment_key(segment.request_id, segment.attempt, segment.number)
    told = aside(segment, reason)
    if r"\u0000" in told.content:  # as JSON, PostgreSQL would not keep it
        return set_aside(told)
    return Parked(segment.key if segment.key == own else told.key, reason, to_builtins(segment))


def _map(segment: Segment, offsets: dict[str, int], epochs: dict[str, int]) -> Mapped | str:
    """The segment on the brain's time line, or the reason why it cannot be counted."""
    if segment.boot_id not in offsets:
        return "its gateway boot never said hello"
    if segment.lease_id not in epochs:
        return "there is no such lease"
    if epochs[segment.lease_id] != segment.epoch:
        return "the lease has another epoch"
    if segment.key != segment_key(segment.request_id, segment.attempt, segment.number):
        return "its key is not the key of its request, attempt and number"
    if segment.end_ns < segment.start_ns:
        return "it ends before it starts"
    if max(segment.attempt, segment.number) >= 2**31 or segment.status > 999:
        return "an attempt, number or status is out of range"
    try:
        day = date.fromisoformat(segment.day)
        AccountId.parse(segment.account_id)
        DeploymentId.parse(segment.deployment_id)
        ReplicaId.parse(segment.replica_id)
        LeaseId.parse(segment.lease_id)
    except (ValueError, BadInput) as error:
        return f"it is malformed: {error}"
    offset = offsets[segment.boot_id]
    start, end = segment.start_ns + offset, segment.end_ns + offset
    if not 0 <= start <= end < 2**62:
        return "its times lie outside of time"
    return Mapped(segment, day, start, end)
