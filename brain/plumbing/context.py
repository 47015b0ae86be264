"""What every verb is handed: the database, the clock and the source of ids."""

from __future__ import annotations

from dataclasses import dataclass

from brain.plumbing.db import Db
from kernel.clock import Clock
from kernel.ids import Ids


@dataclass(frozen=True)
class Ctx:
    db: Db
    clock: Clock
    ids: Ids
