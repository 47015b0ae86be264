"""What nobody pays for any more: found as soon as its account is stopped, and ended soon."""

from __future__ import annotations

from sqlalchemy import text

from brain import billing
from brain.deployments.models import Deployment
from brain.deployments.states import Asked
from brain.plumbing import Ctx, Tx

_DUE = text(
    """
    UPDATE deployment SET due_at = :now
    WHERE asked = :running AND NOT pool AND deleted_at IS NULL
      AND (due_at IS NULL OR due_at > :now)
      AND account_id IN (SELECT account_id FROM account_standing WHERE stopped)
    """
)


async def unpaid_of(tx: Tx, row: Deployment) -> bool:
    """Is its account stopped? The platform pays for the pool in any case."""
    return not row.pool and await billing.account_stopped(tx, row.account_id)


async def hurry_unpaid(ctx: Ctx) -> int:
    """Have the running deployments of stopped accounts looked at now, not at their next turn.
    Returns how many. May run any number of times at once."""
    async with ctx.db.begin() as tx:
        found = await tx.execute(_DUE, {"now": ctx.clock.now(), "running": Asked.RUNNING.value})
    count: int = found.rowcount  # type: ignore[attr-defined]
    return count
