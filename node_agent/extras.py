"""What else rides on a beat: each part tells its share, hears the answer, and has its own loop."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from kernel.wire.agent import Beat, BeatAnswer
from node_agent.records import AgentState, Work


class Extra(Protocol):
    """A part of the agent beside the lease loop. ``tell`` and ``hear`` neither wait nor raise."""

    def tell(self, beat: Beat) -> None:
        """Add this part's share to a beat that is about to be sent."""
        ...

    def hear(self, answer: BeatAnswer, sent_ns: int) -> None:
        """Take this part's share of the answer; ``sent_ns`` is the boot clock of the sending."""
        ...

    async def run(self) -> None:
        """Runs beside the agent until it is cancelled."""
        ...


class Onlooker(Protocol):
    """A part that goes by what is held and what runs."""

    def see(self, state: AgentState, works: Sequence[Work]) -> None:
        """Called after each look at the work and after each answer of the brain: neither waits
        nor raises."""
        ...
