"""One turn and its record: every leg's request id under one turn's id, in one line of the log."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

import structlog

from inference.realtime.caller import Caller
from inference.realtime.leg import Entry

LEGS_MAX = 200  # in the record


@dataclass(slots=True)
class Turn:
    """From the user's words to the end of the answer to them. ``write`` it once."""

    id: str
    session_id: str
    began_ns: int
    legs: list[Entry] = field(default_factory=list)
    sound_in_ms: int = 0
    sound_out_ms: int = 0

    def add(self, entry: Entry) -> None:
        if len(self.legs) < LEGS_MAX:
            self.legs.append(entry)

    def write(self, caller: Caller, status: str) -> None:
        """No word that was said is in it."""
        key = caller.opened_with
        structlog.get_logger("inference.realtime").info(
            "turn",
            turn=self.id,
            session=self.session_id,
            account=key.account_id,
            key=key.key_id,
            status=status,
            ms=(caller.gateway.now_ns() - self.began_ns) // 1_000_000,
            sound_in_ms=self.sound_in_ms,
            sound_out_ms=self.sound_out_ms,
            legs=[asdict(leg) for leg in self.legs],
        )

    def shown(self) -> list[dict[str, object]]:
        """The legs, as the client sees them."""
        return [asdict(leg) for leg in self.legs]
