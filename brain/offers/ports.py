"""What the offers' room needs of the rooms above it."""

from __future__ import annotations

from brain.plumbing import Tx


class Waiting:
    """Whoever waits for a place: told when capacity came up, in the transaction that saw it."""

    async def capacity_appeared(self, tx: Tx) -> None:
        """A hint: what waits looks again in any case, only later."""
