"""What the offers' room needs of the rooms above it."""

from __future__ import annotations

from collections.abc import Mapping

from brain.plumbing import Tx


class Waiting:
    """Whoever waits for a place: told when capacity came up, in the transaction that saw it."""

    async def capacity_appeared(self, tx: Tx) -> None:
        """A hint: what waits looks again in any case, only later."""


class Near:
    """Whoever knows which models were served on which of our nodes of late."""

    async def models(self, tx: Tx, since_ns: int) -> Mapping[str, frozenset[str]]:
        """By node: models whose files may still lie there. Here: nobody knows."""
        return {}
