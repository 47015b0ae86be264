"""Pure: what becomes of a check next, from its row, its group and what is known of its node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from brain.trust.states import CheckState
from kernel.clock import NS

HAND_NS = 60 * NS  # a check that no beat fetched for so long is dropped
ROUND_NS = 120 * NS  # for the recall and the opening, each of which waits for a beat


@dataclass(frozen=True)
class View:
    """A check as its row says; times of the brain's clock."""

    check_id: str
    gpu_uuid: str
    state: CheckState
    asked_ns: int
    deadline_ns: int
    handed_ns: int | None = None
    committed_ns: int | None = None
    recalled_ns: int | None = None
    opened_ns: int | None = None
    refused_ns: int | None = None
    contradicted_ns: int | None = None


@dataclass(frozen=True)
class Around:
    """What is known of its GPU and node now."""

    held: bool  # a live lease is on the GPU
    heard: bool
    same_boot: bool


class Next(StrEnum):
    WAIT = "wait"
    RECALL = "recall"
    OPEN = "open"
    JUDGE = "judge"  # it was opened
    REFUSED = "refused"
    CONTRADICTED = "contradicted"
    LATE = "late"
    DROP = "drop"  # no verdict


@dataclass(frozen=True)
class Step:
    what: Next
    why: str = ""


def decide(one: View, group: Sequence[View], around: Around, now_ns: int) -> Step:
    """A lease always wins; silence is nobody's lie; whoever is heard and does not answer is
    late."""
    if one.contradicted_ns is not None:
        return Step(Next.CONTRADICTED)
    if around.held:
        return Step(Next.DROP, "Its GPU was leased.")
    if not around.same_boot:
        return Step(Next.DROP, "Its host booted anew.")
    if one.refused_ns is not None:
        return Step(Next.REFUSED)
    done = _done(one, group)
    if done is not None:
        return done
    if one.handed_ns is None:
        fetched = now_ns < one.asked_ns + HAND_NS
        return Step(Next.WAIT) if fetched else Step(Next.DROP, "No beat fetched it.")
    if not around.heard:
        return Step(Next.DROP, "Its node fell silent.")
    return Step(Next.LATE) if now_ns >= one.deadline_ns else Step(Next.WAIT)


def _done(one: View, group: Sequence[View]) -> Step | None:
    """What follows from what the agent told; None while something is awaited of it."""
    if one.state is CheckState.ASKED and one.committed_ns is not None:
        busy = any(other.state is CheckState.ASKED and not _told(other) for other in group)
        return Step(Next.WAIT) if busy else Step(Next.RECALL)
    if one.state is CheckState.RECALL and one.recalled_ns is not None:
        return Step(Next.OPEN)
    if one.state is CheckState.OPEN and one.opened_ns is not None:
        return Step(Next.JUDGE)
    return None


def _told(one: View) -> bool:
    return one.committed_ns is not None or one.refused_ns is not None


def deadline_ns(asked_ns: int, limit_ms: int) -> int:
    """When an answer is not waited for any more: twice what it may take, and the rounds."""
    return asked_ns + HAND_NS + 2 * limit_ms * 1_000_000 + ROUND_NS
