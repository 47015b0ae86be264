"""What a link to a worker and the exchange that it carries say to each other."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING, Protocol

from inference.relay import Relay

if TYPE_CHECKING:
    from inference.links import Link


class Lost(Enum):
    """Why an answer did not come to its end."""

    REFUSED = "it cannot be reached"
    STALE = "a kept connection was closed"  # under us, before it answered anything
    CLOSED = "the connection closed early"
    GARBLED = "what came is not HTTP"


class Answering(Protocol):
    """What a link tells the exchange that it carries."""

    def link_ready(self, link: Link) -> None: ...

    def answer_whole(self, status: int, kind: bytes, retry_after: bytes, content: bytes) -> None:
        """An answer that is no event stream and not long, at its end. No other call comes."""
        ...

    def answer_head(self, status: int, kind: bytes, length: int) -> None:
        """A stream of events or sound, or a long answer, begins; its body and its end follow."""
        ...

    def answer_body(self, received: bytes) -> None: ...
    def answer_event(self, chunk: bytes, start: int) -> Relay | None:
        """The same for a whole chunk with one event, whose data begin at ``start``. Gives what
        passes on chunks that are like it, if anything does."""
        ...

    def answer_end(self) -> None: ...
    def answer_lost(self, why: Lost) -> None: ...


class Flow(Protocol):
    """Whoever sends a body piece by piece."""

    def flow(self, *, full: bool) -> None:
        """The connection takes no more for now, or does again."""
        ...
