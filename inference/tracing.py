"""W3C trace context: what a client sent, checked by the recommendation, and what goes on. Pure.

https://www.w3.org/TR/trace-context/ : a header that is malformed, or given twice, begins a new
trace, and its ``tracestate`` is dropped.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256

_PARENT = re.compile(
    rb"(?!ff)([0-9a-f]{2})-(?!0{32})([0-9a-f]{32})-(?!0{16})[0-9a-f]{16}-([0-9a-f]{2})(-.*)?"
)
STATE_BYTES_MAX = 512
_STATE = re.compile(rb"[\x20-\x7e]*")
SAMPLED = 1


@dataclass(frozen=True, slots=True)
class Trace:
    """The trace of one request, and our own span in it. ``told``: the client sent one."""

    trace_id: str
    span_id: str
    flags: int
    state: bytes
    told: bool

    @property
    def sampled(self) -> bool:
        return bool(self.flags & SAMPLED)

    @property
    def parent(self) -> str:
        """As a ``traceparent`` names us."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    def onward(self) -> bytes:
        """Header lines for a worker."""
        lines = b"traceparent: %b\r\n" % self.parent.encode()
        return lines + (b"tracestate: %b\r\n" % self.state if self.state else b"")


def trace_of(parents: list[bytes], states: list[bytes], request_id: str) -> Trace:
    """The client's trace, or a new one whose id is that of the request."""
    span_id = sha256(request_id.encode()).hexdigest()[:16]
    found = _PARENT.fullmatch(parents[0]) if len(parents) == 1 else None
    if found is None or (found[1] == b"00" and found[4] is not None):
        flags = 0 if parents else SAMPLED  # without a header: made because a setting asks for it
        new = request_id.rpartition("_")[2]
        return Trace(new, span_id, flags, b"", told=bool(parents))
    state = b",".join(states)
    if len(state) > STATE_BYTES_MAX or _STATE.fullmatch(state) is None:
        state = b""
    flags = int(found[3], 16) & SAMPLED
    return Trace(found[2].decode(), span_id, flags, state, told=True)
