"""For ``ganglion doctor``: services that this installation sells below what their vendors take."""

from __future__ import annotations

from sqlalchemy.exc import SQLAlchemyError


async def losing(database_url: str) -> list[str] | None:
    """A sentence a service. None: the database does not answer, or is of another version."""
    from brain import pricing
    from brain.plumbing import Db
    from kernel.clock import SystemClock

    db = Db(database_url, pool_size=1)
    try:
        async with db.begin() as tx:
            found = await pricing.below_cost(tx, SystemClock().now())
        return [one.sentence() for one in found]
    except (SQLAlchemyError, OSError, TimeoutError, ValueError):
        return None
    finally:
        await db.close()
