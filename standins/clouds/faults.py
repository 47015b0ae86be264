"""Faults on demand: how an emulated cloud fails, for the next calls, for a time, or by chance.

A fault is a JSON object such as ``{"fault": "throttled", "operation": "create", "next": 3}``.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

from kernel.clock import NS

FAULTS_MAX = 200


class Operation(StrEnum):
    """What a call asks of the cloud, in one vocabulary for all of them."""

    OFFERS = "offers"
    CREATE = "create"
    GET = "get"
    LIST = "list"
    STOP = "stop"
    START = "start"
    TERMINATE = "terminate"
    OTHER = "other"  # account, keys, volumes, logs


class FaultKind(StrEnum):
    # On the wire, before or after the work (`when`).
    THROTTLED = "throttled"  # 429; `retry_after` seconds as a header where given
    BROKEN = "broken"  # `status` (5xx)
    SILENT = "silent"  # no byte for `seconds`, then the connection ends
    LATE = "late"  # `seconds` of silence, then the answer
    CUT = "cut"  # the connection ends, before any byte
    HTML = "html"  # a page for people, with `status`, where JSON belongs
    GARBLED = "garbled"  # JSON of another shape
    HUGE = "huge"  # `bytes` of valid JSON
    HALF = "half"  # the connection ends in the middle of the answer (after the work)
    # The cloud's own refusals (before the work).
    NO_CAPACITY = "no_capacity"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NO_BALANCE = "no_balance"
    ACCOUNT_LIMIT = "account_limit"
    BAD_REQUEST = "bad_request"
    # A new machine's fate (create, start).
    SLOW_BOOT = "slow_boot"  # up after `seconds`
    FAILED_BOOT = "failed_boot"  # failed after `seconds`
    ENDLESS_BOOT = "endless_boot"
    INTERRUPTED = "interrupted"  # taken back after `seconds` of running
    # Lies: the answer is well-formed and wrong.
    GHOST = "ghost"  # create: an id is given, no machine is made
    DOUBLED = "doubled"  # create: two machines with one tag
    LIE = "lie"  # stop, start, terminate: said to be done, nothing is done
    DEAF = "deaf"  # terminate: said to be done; nothing is done for `seconds`, however often asked
    MISSING = "missing"  # get, stop, terminate: said not to exist, though it does
    PARTIAL = "partial"  # list: silently without `share` of the machines
    STALE = "stale"  # list, get: as it was `seconds` ago
    PRICE = "price"  # offers: every price is `price_nano` (negative, 0, huge)
    UNKNOWN_GPU = "unknown_gpu"  # offers: one more stock, of a GPU nobody knows
    CLOCK_OFF = "clock_off"  # times in answers are off by `seconds` (may be negative)


class When(StrEnum):
    BEFORE = "before"  # nothing was done
    AFTER = "after"  # it was done; only the answer is lost


WIRE = frozenset(
    {
        FaultKind.THROTTLED,
        FaultKind.BROKEN,
        FaultKind.SILENT,
        FaultKind.LATE,
        FaultKind.CUT,
        FaultKind.HTML,
        FaultKind.GARBLED,
        FaultKind.HUGE,
        FaultKind.HALF,
    }
)
_CREATES = frozenset({Operation.CREATE, Operation.START})
_READS = frozenset({Operation.LIST, Operation.GET})
_BY_ID = frozenset({Operation.GET, Operation.STOP, Operation.START, Operation.TERMINATE})
# Where a fault has a meaning; kinds that are not named have one everywhere.
_MEANT_FOR: dict[FaultKind, frozenset[Operation]] = {
    FaultKind.NO_CAPACITY: _CREATES,
    FaultKind.SLOW_BOOT: _CREATES,
    FaultKind.FAILED_BOOT: _CREATES,
    FaultKind.ENDLESS_BOOT: _CREATES,
    FaultKind.INTERRUPTED: _CREATES,
    FaultKind.GHOST: frozenset({Operation.CREATE}),
    FaultKind.DOUBLED: frozenset({Operation.CREATE}),
    FaultKind.LIE: frozenset({Operation.STOP, Operation.START, Operation.TERMINATE}),
    FaultKind.DEAF: frozenset({Operation.TERMINATE}),
    FaultKind.MISSING: _BY_ID,
    FaultKind.PARTIAL: frozenset({Operation.LIST}),
    FaultKind.STALE: _READS,
    FaultKind.PRICE: frozenset({Operation.OFFERS}),
    FaultKind.UNKNOWN_GPU: frozenset({Operation.OFFERS}),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault and how long it holds: for the ``next`` calls that meet it (0 = no count), and
    for ``for_seconds`` from when it was set (0 = no end)."""

    fault: FaultKind
    operation: str = ""  # "" = each operation that the fault has a meaning for
    next: int = 1
    for_seconds: float = 0.0
    skip: int = 0  # so many fitting calls pass first
    rate: float = 1.0  # the share of fitting calls that meet it, by the world's chance
    when: When = When.BEFORE
    seconds: float = 3600.0
    status: int = 500
    retry_after: float | None = None
    bytes: int = 10_000_000
    share: float = 0.5
    price_nano: int = -1_000_000_000

    def fits(self, operation: Operation) -> bool:
        if self.operation:
            return self.operation == operation
        return operation in _MEANT_FOR.get(self.fault, frozenset(Operation))


def read_faults(given: object) -> tuple[Fault, ...]:
    """One object or a list of them; ``ValueError`` says what is wrong."""
    items = given if isinstance(given, list) else [given]
    if len(items) > FAULTS_MAX:
        raise ValueError(f"more than {FAULTS_MAX} faults at once")
    return tuple(_read(item) for item in items)


def _read(item: object) -> Fault:
    if not isinstance(item, dict):
        raise ValueError("a fault is an object such as {'fault': 'throttled', 'next': 3}")
    known = {one.name for one in fields(Fault)}
    unknown = sorted(str(name) for name in item if name not in known)
    if unknown or "fault" not in item:
        raise ValueError(f"unknown: {unknown}; a fault has: {', '.join(sorted(known))}")
    values: dict[str, Any] = dict(item)
    values["fault"] = FaultKind(values["fault"])
    values["when"] = When(values.get("when", When.BEFORE))
    values["operation"] = Operation(values["operation"]) if values.get("operation") else ""
    for name in ("next", "skip", "status", "bytes"):
        if type(values.get(name, 0)) is not int or values.get(name, 0) < 0:
            raise ValueError(f"{name} is a whole number, 0 or more")
    if type(values.get("price_nano", 0)) is not int:
        raise ValueError("price_nano is a whole number")
    for name in ("for_seconds", "seconds", "rate", "share"):
        if isinstance(values.get(name, 0), bool) or not isinstance(
            values.get(name, 0), int | float
        ):
            raise ValueError(f"{name} is a number")
    if values.get("seconds", 0) < 0 and values["fault"] != FaultKind.CLOCK_OFF:
        raise ValueError("seconds is 0 or more")
    fault = Fault(**values)
    meant = _MEANT_FOR.get(fault.fault)
    if fault.operation and meant is not None and fault.operation not in meant:
        raise ValueError(f"{fault.fault} means nothing for {fault.operation}")
    return fault


@dataclass(slots=True)
class _Set:
    fault: Fault
    left: int
    skip: int
    set_ns: int

    def over(self, now_ns: int) -> bool:
        lasts = self.fault.for_seconds
        return lasts > 0 and now_ns >= self.set_ns + round(lasts * NS)


class FaultPlan:
    """The faults still to come, oldest first. Of several that fit, one call meets one."""

    def __init__(self, faults: Iterable[Fault] = (), *, now_ns: int = 0) -> None:
        self._set: list[_Set] = []
        self.add(faults, now_ns=now_ns)

    def add(self, faults: Iterable[Fault], *, now_ns: int) -> None:
        self._set.extend(_Set(one, one.next, one.skip, now_ns) for one in faults)
        del self._set[:-FAULTS_MAX]

    def clear(self) -> None:
        self._set.clear()

    def take(self, operation: Operation, chance: random.Random, now_ns: int) -> Fault | None:
        """The fault that this call meets, counted down."""
        self._set = [one for one in self._set if not one.over(now_ns)]
        for place, one in enumerate(self._set):
            if not one.fault.fits(operation):
                continue
            if one.skip:
                one.skip -= 1
                continue
            if one.fault.rate < 1.0 and chance.random() >= one.fault.rate:
                continue
            if one.left == 1:
                del self._set[place]
            elif one.left > 1:
                one.left -= 1
            return one.fault
        return None

    def left(self) -> list[dict[str, object]]:
        return [{**asdict(one.fault), "next": one.left, "skip": one.skip} for one in self._set]
