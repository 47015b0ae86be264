"""What every verb is handed: the database, the clock, the source of ids, the marks of crashes."""

from __future__ import annotations

from dataclasses import dataclass, field

from brain.plumbing.db import Db
from brain.plumbing.points import NoPoints, Points
from kernel.clock import Clock
from kernel.ids import Ids


@dataclass(frozen=True)
class Ctx:
    db: Db
    clock: Clock
    ids: Ids
    points: Points = field(default_factory=NoPoints)

    async def reach(self, name: str) -> None:
        """Mark a line at which a crash would matter, as in ``provisioning.created``.

        Names are literal, dotted and unique in the tree, so that a test can list them and die
        at each. Nothing happens here in production.
        """
        await self.points.reach(name)
