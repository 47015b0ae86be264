"""SQL of what beats bring: checks to hand out, and what agents told of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import case, func, or_, select, update

from brain.plumbing import Tx
from brain.trust.core.news import News, Row
from brain.trust.models import WorkCheck
from brain.trust.states import LIVE, CheckState
from kernel.clock import NS

ROWS_MAX = 5_000


async def under_way(tx: Tx, ended_since_ns: int) -> list[Row]:
    """Live checks, and those that were dropped since then."""
    since = datetime.fromtimestamp(ended_since_ns // NS, UTC)
    ended = (WorkCheck.state == CheckState.ENDED.value) & (WorkCheck.state_at >= since)
    rows = await tx.execute(
        select(
            WorkCheck.check_id,
            WorkCheck.node_id,
            WorkCheck.gpu_uuid,
            WorkCheck.state,
            WorkCheck.ordered,
            WorkCheck.recall_key,
            WorkCheck.sample,
        )
        .where(or_(WorkCheck.state.in_(LIVE), ended))
        .order_by(WorkCheck.asked_ns.desc(), WorkCheck.check_id)
        .limit(ROWS_MAX)
    )
    return [Row(str(row[0]), *row[1:]) for row in rows]


async def write(tx: Tx, news: Sequence[News]) -> None:
    """The first time of each stage stands; the newest word replaces the one before."""
    for one in news:
        times = {
            "handed_ns": one.handed_ns,
            "committed_ns": one.committed_ns,
            "recall_ns": one.recall_ns,
            "recalled_ns": one.recalled_ns,
            "opened_ns": one.opened_ns,
            "refused_ns": one.refused_ns,
            "contradicted_ns": one.contradicted_ns,
        }
        values: dict[str, Any] = {
            name: func.coalesce(getattr(WorkCheck, name), at)
            for name, at in times.items()
            if at is not None
        }
        changed = [getattr(WorkCheck, name).is_(None) for name in values]
        if one.told is not None:
            # What was opened stands: a later word may be without it.
            whole = case((WorkCheck.opened_ns.is_(None), one.told), else_=WorkCheck.told)
            values["told"] = whole
            changed.append(WorkCheck.opened_ns.is_(None))
        if values:
            await tx.execute(
                update(WorkCheck)
                .where(WorkCheck.check_id == one.check_id, or_(*changed))
                .values(**values)
                .execution_options(synchronize_session=False)
            )
