"""What is done to the database itself, beside a running brain: making the first administrator."""

from __future__ import annotations

from brain.identity import Registered, ensure_admin
from brain.plumbing import Ctx, Db
from kernel.clock import SystemClock
from kernel.ids import SystemIds


async def create_admin(database_url: str, email: str, password: str) -> Registered:
    """An administrator with this address and password: made, or an existing user promoted."""
    clock = SystemClock()
    db = Db(database_url, pool_size=1)
    try:
        return await ensure_admin(Ctx(db=db, clock=clock, ids=SystemIds(clock)), email, password)
    finally:
        await db.close()
