"""The kinds of check, their modes, and what an enforced failure leads to. Values only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from kernel.clock import NS
from kernel.errors import BadInput, Conflict

CONFIRM_NS: Final = 6 * 3600 * NS  # two failures of a kind that needs two lie within this


class CheckKind(StrEnum):
    """What a finding is about. Each has a mode of its own."""

    PREFLIGHT = "preflight"  # a fatal point of the agent's own look at its machine
    INVENTORY = "inventory"  # what is told of a GPU cannot be: memory, slices, names
    PRESENCE = "presence"  # the GPU can be used at all
    MEMORY = "memory"  # nine tenths of the memory told can be filled, alone
    SHARING = "sharing"  # ... while the other GPUs checked with it hold theirs
    ANSWER = "answer"  # what was opened is what this check's seed gives
    SPEED = "speed"  # the work was done in the time of this kind of GPU
    LATE = "late"  # the answer came in the time that the agent says it took
    ABORT = "abort"  # no work is told of a GPU that was leased meanwhile


NEEDS_TWO: Final = frozenset({CheckKind.SPEED, CheckKind.LATE})  # a line may be slow for once


class Mode(StrEnum):
    OFF = "off"  # not looked at
    SHADOW = "shadow"  # recorded and counted, never acted upon
    ENFORCED = "enforced"  # a node that fails is not sold


@dataclass(frozen=True)
class ModeNow:
    mode: Mode
    since_ns: int


@dataclass(frozen=True)
class Finding:
    """What one check said of one kind on one GPU ("" = the node)."""

    kind: CheckKind
    gpu_uuid: str
    passed: bool
    at_ns: int
    reason: str = ""


def check_change(kind: CheckKind, now: ModeNow, wanted: Mode, now_ns: int, days_min: int) -> None:
    """Raises why a kind may not be put into this mode yet."""
    if wanted is now.mode:
        raise BadInput(f"{kind.value} is {wanted.value} already.", param="mode")
    if wanted is not Mode.ENFORCED:
        return
    if now.mode is not Mode.SHADOW:
        raise Conflict(f"{kind.value} is {now.mode.value}: a check runs in shadow mode first.")
    left_ns = now.since_ns + days_min * 86_400 * NS - now_ns
    if left_ns > 0:
        raise Conflict(
            f"{kind.value} has been in shadow mode for {(now_ns - now.since_ns) // NS // 86_400}"
            f" days; {days_min} are needed. It may be enforced in {left_ns // NS // 3600 + 1} h."
        )


def withheld(findings: Iterable[Finding], modes: Mapping[CheckKind, ModeNow]) -> str:
    """Why a node is not sold; empty when no enforced kind speaks against it.

    The newest finding of each kind and GPU counts; a kind in ``NEEDS_TWO`` counts when the one
    before it failed too, not long before.
    """
    said = []
    for (kind, gpu_uuid), reason in sorted(against(findings, modes).items()):
        where = f" of GPU {gpu_uuid}" if gpu_uuid else ""
        said.append(f"It failed its {kind.value} check{where}: {reason}")
    return " ".join(said)


def against(
    findings: Iterable[Finding], modes: Mapping[CheckKind, ModeNow]
) -> dict[tuple[CheckKind, str], str]:
    """The enforced kinds that speak against a node's GPUs now, with their reasons."""
    lines: dict[tuple[CheckKind, str], list[Finding]] = {}
    for found in sorted(findings, key=lambda f: f.at_ns):
        lines.setdefault((found.kind, found.gpu_uuid), []).append(found)
    return {
        key: line[-1].reason
        for key, line in lines.items()
        if modes.get(key[0], _OFF).mode is Mode.ENFORCED and fails(line)
    }


def fails(line: list[Finding]) -> bool:
    """Whether findings of one kind and GPU, in the order of time, speak against it now."""
    if not line or line[-1].passed:
        return False
    if line[-1].kind not in NEEDS_TWO:
        return True
    before = line[-2] if len(line) > 1 else None
    return before is not None and not before.passed and line[-1].at_ns - before.at_ns <= CONFIRM_NS


_OFF = ModeNow(Mode.OFF, 0)
