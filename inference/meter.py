"""Cuts requests' residence into pieces. Pure: times come in; what is counted stands on the
residence, is noted in the spool from there, and becomes a wire ``Segment`` when it is shipped.

Tokens on pieces are what was counted since the request's previous piece, so a sum over a
request's segments is its total; prompt tokens are known at the end and stand on the last one.
"""

from __future__ import annotations

from msgspec import Struct, structs

from kernel.wire.gateway import Segment, SegmentEnd, segment_key

UNPROVEN_NS = 250_000_000  # a worker that is there sees a hang-up within this
Tokens = tuple[int, int, bool]  # prompt, completion, whether they are an estimate


class Target(Struct, frozen=True):
    """What residences are booked on. ``number`` names it in this process's spool."""

    number: int
    account_id: str
    key_id: str
    deployment_id: str
    replica_id: str
    lease_id: str
    epoch: int
    model: str
    route: str


class Residence:
    """One try of one request on one replica, from dispatch until the worker's last byte.

    It has one open piece at a time. ``cut`` or ``finish`` ends it: its fields are then those of
    the finished piece until ``go_on`` opens the next.
    """

    __slots__ = (
        "_completion_given",
        "_prompt_given",
        "attempt",
        "completion_tokens",
        "day",
        "end",
        "end_ns",
        "estimated",
        "marked_in",
        "noted",
        "number",
        "prompt_tokens",
        "request_id",
        "slice_id",
        "start_ns",
        "status",
        "target",
        "weight",
    )

    def __init__(
        self,
        target: Target,
        request_id: str,
        attempt: int,
        start_ns: int,
        day: int,
        weight: int = 1,
        slice_id: str | None = None,
    ) -> None:
        self.target = target
        self.request_id = request_id
        self.attempt = attempt
        self.number = 0
        self.start_ns = start_ns
        self.day = day  # as yyyymmdd; fixed when the piece opens
        self.weight = weight
        self.slice_id = slice_id
        self.marked_in = 0  # the spool file that says that the piece is open
        self.noted = b""  # how the spool names the open piece; empty when that changed
        self._prompt_given = 0
        self._completion_given = 0
        # Set when the piece ends.
        self.end_ns: int
        self.end: SegmentEnd
        self.status: int
        self.prompt_tokens: int
        self.completion_tokens: int
        self.estimated: bool

    def cut(self, at_ns: int, completion_tokens: int) -> None:
        """End the open piece here; the request goes on."""
        self.finish(at_ns, SegmentEnd.OPEN, 200, (0, completion_tokens, False))
        self.estimated = self.completion_tokens > 0

    def finish(self, at_ns: int, end: SegmentEnd, status: int, tokens: Tokens) -> None:
        """End the open piece with the request; ``tokens`` are the request's totals so far."""
        self.end = end
        self.status = status
        prompt, completion, self.estimated = tokens
        self.end_ns = at_ns if at_ns > self.start_ns else self.start_ns
        prompt -= self._prompt_given
        completion -= self._completion_given
        self.prompt_tokens = prompt if prompt > 0 else 0
        self.completion_tokens = completion if completion > 0 else 0

    def unheard_until(self, at_ns: int, *, begun: bool | None) -> int:
        """Up to when to count where the client left at this time, and the worker had not said a
        byte. ``begun``: whether the worker had taken the request. Where nobody knows, a moment is
        not enough to charge: a worker that had just died looks the same."""
        if begun is None:
            begun = self.number > 0 or at_ns - self.start_ns >= UNPROVEN_NS
        return at_ns if begun else self.start_ns

    def go_on(self, day: int) -> None:
        """Open the next piece where the last one ended."""
        self._prompt_given += self.prompt_tokens
        self._completion_given += self.completion_tokens
        self.number += 1
        self.start_ns = self.end_ns
        self.day = day
        self.noted = b""

    def pay_from(self, slice_id: str | None) -> None:
        """The open piece is held for by another slice."""
        self.slice_id = slice_id
        self.noted = b""


def cut_off(last: Segment, alive_ns: int, *, piece_open: bool) -> Segment:
    """The end of a residence whose gateway died: at the last thing written about it.

    ``last`` is its open piece, or its last finished one; ``alive_ns`` is the last time at which
    the dead gateway wrote that all its residents were alive. One that it had sent out only a moment
    before may have found its worker dead: it counts no time, as in ``unheard_until``.
    """
    number = last.number if piece_open else last.number + 1
    start_ns = last.start_ns if piece_open else last.end_ns
    if number == 0 and alive_ns - start_ns < UNPROVEN_NS:
        alive_ns = start_ns
    return structs.replace(
        last,
        key=segment_key(last.request_id, last.attempt, number),
        number=number,
        start_ns=start_ns,
        end_ns=max(alive_ns, start_ns),
        end=SegmentEnd.CUT,
        status=200,
        prompt_tokens=0,
        completion_tokens=0,
        tokens_estimated=True,
    )
