"""What a worker's failure means: for the client, for the replica, and for another try. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from inference import errors
from inference.answer import Answer, State
from kernel.errors import (
    GanglionError,
    LimitReached,
    NoCapacity,
    Unavailable,
    UpstreamFailed,
    UpstreamTimeout,
)
from kernel.wire.gateway import SegmentEnd

TOO_SLOW = "it took too long"
# Refusals that speak of our dealings with the worker, not of the client's request.
_OURS = frozenset((401, 402, 403, 407, 408, 429))


@dataclass(frozen=True, slots=True)
class Verdict:
    """``healthy`` is ``None`` when the failure says nothing about the replica."""

    error: GanglionError
    healthy: bool | None
    again: bool  # another replica may do better
    end: SegmentEnd


def judge(answer: Answer) -> Verdict:
    """Of an answer that is REFUSED or BROKEN."""
    if answer.state is State.BROKEN:
        return _broken(answer)
    status = answer.status
    wait = 1 if answer.retry_after is None else answer.retry_after
    if status == 429:
        return _full(LimitReached("The model's workers are at their limit.", retry_after=wait))
    if status == 503:
        return _full(Unavailable("The model's workers are busy; try again.", retry_after=wait))
    if 400 <= status < 500 and status not in _OURS:
        refused = errors.WorkerRefused(status, answer.refusal)
        return Verdict(refused, healthy=True, again=False, end=SegmentEnd.DONE)
    error = UpstreamFailed(f"The model worker failed with status {status}.")
    return Verdict(error, healthy=False, again=True, end=SegmentEnd.FAILED)


def nobody() -> GanglionError:
    return NoCapacity("No replica of this model can answer now; try again soon.", retry_after=2)


def _full(error: GanglionError) -> Verdict:
    """It has no room, which is no fault of its health."""
    return Verdict(error, healthy=None, again=True, end=SegmentEnd.FAILED)


def _broken(answer: Answer) -> Verdict:
    said = answer.said()
    code = said.code if said is not None else None
    if said is not None and isinstance(code, int) and 400 <= code < 500 and code not in _OURS:
        refused = errors.WorkerRefused(code, errors.body_for(said))
        return Verdict(refused, healthy=True, again=False, end=SegmentEnd.DONE)
    if answer.reason == TOO_SLOW:
        late = UpstreamTimeout("The model worker did not answer in time.")
        return Verdict(late, healthy=False, again=True, end=SegmentEnd.FAILED)
    error = UpstreamFailed(
        f"The model worker failed, the answer is not complete: {answer.reason}.",
    )
    return Verdict(error, healthy=False, again=True, end=SegmentEnd.FAILED)
