"""Cuts requests' residence into usage segments. Pure: times come in, segments go out.

Tokens on segments are what was counted since the request's previous segment, so a sum over a
request's segments is its total; prompt tokens are known at the end and stand on the last one.
"""

from __future__ import annotations

from dataclasses import dataclass

from msgspec import structs

from kernel.wire.gateway import Segment, SegmentEnd, segment_key


@dataclass(frozen=True, slots=True)
class Target:
    """What a residence is booked on."""

    account_id: str
    key_id: str
    deployment_id: str
    replica_id: str
    lease_id: str
    epoch: int
    model: str
    route: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a residence ended."""

    end: SegmentEnd
    status: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    tokens_estimated: bool = False


class Residence:
    """One try of one request on one replica, from dispatch until the worker's last byte."""

    __slots__ = ("_completion_given", "_prompt_given", "marked_in", "segment")

    def __init__(self, segment: Segment) -> None:
        self.segment = segment  # the piece that is open now
        self.marked_in = 0  # the spool file that says so
        self._prompt_given = 0
        self._completion_given = 0

    def cut(self, at_ns: int, day: str, completion_tokens: int) -> Segment:
        """End the open piece here and open the next one. Returns the finished piece."""
        done = self.segment
        done.end_ns = max(at_ns, done.start_ns)
        done.end = SegmentEnd.OPEN
        self._count(done, 0, completion_tokens)
        done.tokens_estimated = done.completion_tokens > 0
        self.segment = structs.replace(
            done,
            key=segment_key(done.request_id, done.attempt, done.number + 1),
            day=day,
            number=done.number + 1,
            start_ns=done.end_ns,
            completion_tokens=0,
            tokens_estimated=False,
        )
        return done

    def finish(self, at_ns: int, outcome: Outcome) -> Segment:
        """End the last piece. The residence is over."""
        done = self.segment
        done.end_ns = max(at_ns, done.start_ns)
        done.end = outcome.end
        done.status = outcome.status
        self._count(done, outcome.prompt_tokens, outcome.completion_tokens)
        done.tokens_estimated = outcome.tokens_estimated
        return done

    def _count(self, piece: Segment, prompt: int, completion: int) -> None:
        piece.prompt_tokens = max(prompt - self._prompt_given, 0)
        piece.completion_tokens = max(completion - self._completion_given, 0)
        self._prompt_given += piece.prompt_tokens
        self._completion_given += piece.completion_tokens


def begin(
    target: Target,
    request_id: str,
    *,
    boot_id: str,
    day: str,
    attempt: int,
    start_ns: int,
    weight: int,
    slice_id: str | None,
) -> Residence:
    """A request goes out to a worker."""
    return Residence(
        Segment(
            key=segment_key(request_id, attempt, 0),
            day=day,
            boot_id=boot_id,
            request_id=request_id,
            account_id=target.account_id,
            key_id=target.key_id,
            deployment_id=target.deployment_id,
            replica_id=target.replica_id,
            lease_id=target.lease_id,
            epoch=target.epoch,
            attempt=attempt,
            number=0,
            start_ns=start_ns,
            end_ns=start_ns,
            weight=weight,
            model=target.model,
            route=target.route,
            slice_id=slice_id,
        )
    )


def cut_off(last: Segment, alive_ns: int, *, piece_open: bool) -> Segment:
    """The end of a residence whose gateway died: at the last thing written about it.

    ``last`` is its open piece, or its last finished one; ``alive_ns`` is the last time at which
    the dead gateway wrote that all its residents were alive.
    """
    number = last.number if piece_open else last.number + 1
    start_ns = last.start_ns if piece_open else last.end_ns
    return structs.replace(
        last,
        key=segment_key(last.request_id, last.attempt, number),
        number=number,
        start_ns=start_ns,
        end_ns=max(alive_ns, start_ns),
        end=SegmentEnd.CUT,
        prompt_tokens=0,
        completion_tokens=0,
        tokens_estimated=True,
    )
