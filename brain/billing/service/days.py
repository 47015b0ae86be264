"""Days of usage: made ahead, dropped when their time is over. A tick; safe any number at once."""

from __future__ import annotations

from datetime import date, timedelta

import structlog

from brain.billing.service.gateway import MeterPolicy
from brain.billing.store import days
from brain.plumbing import Ctx

_log = structlog.get_logger()


async def tend_days(ctx: Ctx, policy: MeterPolicy) -> list[date]:
    """Make the partitions of today and the next days, drop those past their time. Returns the
    days dropped."""
    today = ctx.clock.now().date()
    await days.ensure(ctx, (today + timedelta(n) for n in range(days.AHEAD_DAYS + 1)))
    dropped = await days.drop_before(ctx, today - timedelta(policy.usage_days))
    for day in dropped:
        _log.info("usage_day_dropped", day=day.isoformat())
    return dropped
