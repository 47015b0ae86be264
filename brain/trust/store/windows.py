"""SQL of maintenance windows and of what renters were told of them."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.dialects.postgresql import insert

from brain.plumbing import Tx
from brain.trust.core.windows import Window
from brain.trust.models import MaintenanceTold, MaintenanceWindow
from kernel.ids import LeaseId, NodeId, WindowId


def view(row: MaintenanceWindow) -> Window:
    return Window(
        window_id=row.window_id,
        from_ns=row.from_ns,
        until_ns=row.until_ns,
        notice_ns=row.notice_ns,
        announced_ns=row.announced_ns,
        reason=row.reason,
        cancelled_ns=row.cancelled_ns,
    )


async def of_nodes(tx: Tx, node_ids: Sequence[NodeId], after_ns: int) -> dict[NodeId, list[Window]]:
    """Windows that end after that time, cancelled ones included, in the order of their times."""
    rows = await tx.scalars(
        select(MaintenanceWindow)
        .where(MaintenanceWindow.node_id.in_(node_ids), MaintenanceWindow.until_ns > after_ns)
        .order_by(MaintenanceWindow.from_ns, MaintenanceWindow.window_id)
        .execution_options(populate_existing=True)
    )
    found: dict[NodeId, list[Window]] = {}
    for row in rows:
        found.setdefault(row.node_id, []).append(view(row))
    return found


async def page(
    tx: Tx, node_id: NodeId, *, after: str | None, limit: int
) -> list[MaintenanceWindow]:
    """In the order in which they were announced."""
    wanted = select(MaintenanceWindow).where(MaintenanceWindow.node_id == node_id)
    if after is not None:
        wanted = wanted.where(MaintenanceWindow.window_id > after)
    return list(await tx.scalars(wanted.order_by(MaintenanceWindow.window_id).limit(limit)))


async def window(tx: Tx, node_id: NodeId, window_id: WindowId) -> MaintenanceWindow | None:
    return await tx.scalar(
        select(MaintenanceWindow)
        .where(MaintenanceWindow.window_id == window_id, MaintenanceWindow.node_id == node_id)
        .with_for_update()
    )


async def open_count(tx: Tx, node_id: NodeId, now_ns: int) -> int:
    found = await tx.scalar(
        select(func.count())
        .select_from(MaintenanceWindow)
        .where(
            MaintenanceWindow.node_id == node_id,
            MaintenanceWindow.cancelled_ns.is_(None),
            MaintenanceWindow.until_ns > now_ns,
        )
    )
    return found or 0


async def not_over(tx: Tx, now_ns: int, limit: int) -> list[MaintenanceWindow]:
    """Windows of all nodes that are not over; cancelled ones too, as renters are told of that."""
    return list(
        await tx.scalars(
            select(MaintenanceWindow)
            .where(MaintenanceWindow.until_ns > now_ns)
            .order_by(MaintenanceWindow.from_ns, MaintenanceWindow.window_id)
            .limit(limit)
        )
    )


async def told(tx: Tx, window_ids: Sequence[WindowId]) -> set[tuple[str, str, str]]:
    """(window, lease, what) of what renters know."""
    rows = await tx.execute(
        select(MaintenanceTold.window_id, MaintenanceTold.lease_id, MaintenanceTold.what).where(
            MaintenanceTold.window_id.in_(window_ids)
        )
    )
    return {(str(row[0]), str(row[1]), row[2]) for row in rows}


async def mark_told(tx: Tx, window_id: WindowId, lease_id: LeaseId, what: str, now_ns: int) -> bool:
    """False: somebody told it meanwhile."""
    done = await tx.execute(
        insert(MaintenanceTold)
        .values(window_id=window_id, lease_id=lease_id, what=what, told_ns=now_ns)
        .on_conflict_do_nothing()
        .returning(MaintenanceTold.window_id)
    )
    return done.one_or_none() is not None
