"""Faults on demand: what a broken worker does, each for the next so many requests.

A fault is a JSON object such as ``{"fault": "cut", "after_bytes": 200, "next": 3}``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from enum import StrEnum
from typing import Any

FAULTS_MAX = 100
WORK_PATHS = (
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/responses",
    "/v1/messages",
    "/v1/embeddings",
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/audio/speech",
    "/v1/images/generations",
    "/v1/realtime",
    "/score",
    "/v1/score",
    "/rerank",
    "/v1/rerank",
    "/v2/rerank",
    "/classify",
    "/pooling",
)


class FaultKind(StrEnum):
    LATE = "late"  # `seconds` of silence before the first byte
    STALL = "stall"  # silence for `seconds` after `after_bytes` of the body
    CUT = "cut"  # the connection ends after `after_bytes` of the body, as `how` says
    GARBAGE = "garbage"  # bytes that mean nothing from `after_bytes` of the body on
    STATUS = "status"  # answers `status` (429, 500, 503 ...) at once
    ERROR_THEN_DONE = "error_then_done"  # after `after_tokens`: error frame, then [DONE]
    ABORT = "abort"  # after `after_tokens` the answer ends with finish_reason "abort", status 200
    NO_FINISH = "no_finish"  # the stream ends with [DONE] but no finish_reason was sent
    NO_DONE = "no_done"  # the stream ends cleanly, with no [DONE]
    DEAF = "deaf"  # reads no more of an upload for `seconds` after `after_bytes` of it
    DIE = "die"  # the process exits with `exit_code` after `after_bytes` of the body


class CutHow(StrEnum):
    RESET = "reset"  # TCP reset
    CLOSE = "close"  # orderly close in the middle of the HTTP body
    END = "end"  # the HTTP body ends properly, what it carries does not


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault, and for how many requests to come it holds (0 = until it is cleared)."""

    fault: FaultKind
    next: int = 1
    path: str = ""  # "" = each route that does work
    seconds: float = 3600.0
    after_bytes: int = 0
    after_tokens: int = 0
    status: int = 500
    retry_after: str = ""
    how: CutHow = CutHow.CLOSE
    exit_code: int = 1

    def fits(self, path: str) -> bool:
        return path == self.path if self.path else path in WORK_PATHS


def read_faults(given: object) -> tuple[Fault, ...]:
    """One object or a list of them; raises ``ValueError`` with what is wrong."""
    items = given if isinstance(given, list) else [given]
    if len(items) > FAULTS_MAX:
        raise ValueError(f"more than {FAULTS_MAX} faults at once")
    return tuple(_read(item) for item in items)


def _read(item: object) -> Fault:
    if not isinstance(item, dict):
        raise ValueError("a fault is an object such as {'fault': 'cut', 'after_bytes': 200}")
    known = {field.name for field in fields(Fault)}
    unknown = sorted(str(name) for name in item if name not in known)
    if unknown or "fault" not in item:
        raise ValueError(f"unknown: {unknown}; a fault has: {', '.join(sorted(known))}")
    values: dict[str, Any] = dict(item)
    values["fault"] = FaultKind(values["fault"])
    values["how"] = CutHow(values.get("how", CutHow.CLOSE))
    for name in ("next", "after_bytes", "after_tokens", "status", "exit_code"):
        if type(values.get(name, 0)) is not int or values.get(name, 0) < 0:
            raise ValueError(f"{name} is a whole number, 0 or more")
    if not isinstance(values.get("seconds", 0), int | float) or values.get("seconds", 0) < 0:
        raise ValueError("seconds is a number, 0 or more")
    return Fault(**values)


class FaultBox:
    """The faults still to come, oldest first. Of several that fit, one request takes one."""

    def __init__(self, faults: Iterable[Fault] = ()) -> None:
        self._left: list[tuple[Fault, int]] = []
        self.add(faults)

    def add(self, faults: Iterable[Fault]) -> None:
        self._left.extend((fault, fault.next) for fault in faults)
        del self._left[:-FAULTS_MAX]

    def clear(self) -> None:
        self._left.clear()

    def take(self, path: str) -> Fault | None:
        """The fault that this request meets, counted down."""
        for place, (fault, left) in enumerate(self._left):
            if not fault.fits(path):
                continue
            if left == 1:
                del self._left[place]
            elif left > 1:
                self._left[place] = (fault, left - 1)
            return fault
        return None

    def left(self) -> list[dict[str, object]]:
        return [{**asdict(fault), "next": left} for fault, left in self._left]
