"""Faults on demand: how the emulated Stripe fails, for the next calls or by chance."""

from __future__ import annotations

import random
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

FAULTS_MAX = 200


class FaultKind(StrEnum):
    THROTTLED = "throttled"  # 429, code rate_limit
    LOCK_TIMEOUT = "lock_timeout"  # 429, code lock_timeout
    BROKEN = "broken"  # 500; a repeat with the same key meets the real answer
    BROKEN_KEPT = "broken_kept"  # 500 after the work, kept under the key: each repeat is this 500
    CUT = "cut"  # the connection ends before any byte
    SILENT = "silent"  # no byte for `seconds`, then the connection ends
    LATE = "late"  # the work, `seconds` of silence (its key is locked), then the answer
    HTML = "html"  # a page for people, status 503


class When(StrEnum):
    BEFORE = "before"  # nothing was done
    AFTER = "after"  # it was done; only the answer is lost


@dataclass(frozen=True, slots=True)
class Fault:
    """``call``: how a call begins, such as ``POST /v1/payment_intents``; "": any."""

    fault: FaultKind
    call: str = ""
    when: When = When.BEFORE
    next: int = 1  # so many calls meet it; 0: until it is cleared
    skip: int = 0  # so many fitting calls pass first
    rate: float = 1.0
    seconds: float = 3600.0


def read_faults(given: object) -> list[Fault]:
    """One object or a list of them; ``ValueError`` says what is wrong."""
    items = given if isinstance(given, list) else [given]
    if len(items) > FAULTS_MAX:
        raise ValueError(f"more than {FAULTS_MAX} faults at once")
    return [_read(item) for item in items]


def _read(item: object) -> Fault:
    known = {one.name: one for one in fields(Fault)}
    if not isinstance(item, dict) or "fault" not in item or set(item) - set(known):
        raise ValueError(f"a fault is an object with: {', '.join(known)}")
    values: dict[str, Any] = dict(item)
    values["fault"] = FaultKind(values["fault"])
    values["when"] = When(values.get("when", When.BEFORE))
    for name in ("next", "skip"):
        if type(values.get(name, 0)) is not int or values.get(name, 0) < 0:
            raise ValueError(f"{name} is a whole number, 0 or more")
    for name in ("rate", "seconds"):
        if not isinstance(values.get(name, 0), int | float) or values.get(name, 0) < 0:
            raise ValueError(f"{name} is a number, 0 or more")
    if not isinstance(values.get("call", ""), str):
        raise ValueError("call is how a call begins, such as 'POST /v1/refunds'")
    return Fault(**values)


@dataclass(slots=True)
class _Set:
    fault: Fault
    left: int
    skip: int


class FaultPlan:
    """The faults still to come, oldest first; one call meets one at most."""

    def __init__(self) -> None:
        self._set: list[_Set] = []

    def add(self, faults: list[Fault]) -> None:
        self._set.extend(_Set(one, one.next, one.skip) for one in faults)
        del self._set[:-FAULTS_MAX]

    def clear(self) -> None:
        self._set.clear()

    def left(self) -> list[dict[str, object]]:
        return [{**asdict(one.fault), "next": one.left, "skip": one.skip} for one in self._set]

    def take(self, call: str, chance: random.Random) -> Fault | None:
        """The fault that this call meets, counted down."""
        for place, one in enumerate(self._set):
            if not call.startswith(one.fault.call):
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
