"""SQL of the checks of GPUs."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select, update

from brain.plumbing import Tx
from brain.trust.core.steps import View
from brain.trust.models import NodeTrust, WorkCheck
from brain.trust.states import LIVE, CheckState
from kernel.ids import CheckId, NodeId

CONTRADICTED_MAX = 100


async def of_node(tx: Tx, node_id: NodeId, limit: int) -> list[WorkCheck]:
    """The newest first."""
    return list(
        await tx.scalars(
            select(WorkCheck)
            .where(WorkCheck.node_id == node_id)
            .order_by(WorkCheck.asked_ns.desc(), WorkCheck.check_id)
            .limit(limit)
        )
    )


async def due_now(tx: Tx, node_id: NodeId) -> bool:
    """Make a node's check due; False when there is no such row."""
    done = await tx.execute(
        update(NodeTrust)
        .where(NodeTrust.node_id == node_id)
        .values(due_ns=0)
        .execution_options(synchronize_session=False)
        .returning(NodeTrust.node_id)
    )
    return done.one_or_none() is not None


async def live(tx: Tx, limit: int) -> list[WorkCheck]:
    """Checks under way, the oldest first."""
    return list(
        await tx.scalars(
            select(WorkCheck)
            .where(WorkCheck.state.in_(LIVE))
            .order_by(WorkCheck.asked_ns, WorkCheck.check_id)
            .limit(limit)
            .execution_options(populate_existing=True)
        )
    )


async def of_groups(tx: Tx, group_ids: Sequence[str]) -> list[WorkCheck]:
    """All checks that were begun together, those that ended included."""
    return list(
        await tx.scalars(
            select(WorkCheck)
            .where(WorkCheck.group_id.in_(group_ids))
            .order_by(WorkCheck.asked_ns, WorkCheck.check_id)
            .execution_options(populate_existing=True)
        )
    )


async def locked(tx: Tx, check_id: CheckId) -> WorkCheck | None:
    """The check, if it is still under way."""
    return await tx.scalar(
        select(WorkCheck)
        .where(WorkCheck.check_id == check_id, WorkCheck.state.in_(LIVE))
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def any_locked(tx: Tx, check_id: CheckId) -> WorkCheck | None:
    return await tx.scalar(
        select(WorkCheck)
        .where(WorkCheck.check_id == check_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )


async def contradicted(tx: Tx) -> list[WorkCheck]:
    """Checks that were dropped for a lease, and were told done while its work ran."""
    return list(
        await tx.scalars(
            select(WorkCheck)
            .where(
                WorkCheck.state == CheckState.ENDED.value, WorkCheck.contradicted_ns.is_not(None)
            )
            .order_by(WorkCheck.check_id)
            .limit(CONTRADICTED_MAX)
        )
    )


async def due_by(tx: Tx, node_id: NodeId, at_ns: int) -> None:
    """Have the node checked at that time, unless it is due before."""
    await tx.execute(
        update(NodeTrust)
        .where(NodeTrust.node_id == node_id, NodeTrust.due_ns > at_ns)
        .values(due_ns=at_ns)
        .execution_options(synchronize_session=False)
    )


def view(row: WorkCheck) -> View:
    return View(
        check_id=str(row.check_id),
        gpu_uuid=row.gpu_uuid,
        state=CheckState(row.state),
        asked_ns=row.asked_ns,
        deadline_ns=row.deadline_ns,
        handed_ns=row.handed_ns,
        committed_ns=row.committed_ns,
        recalled_ns=row.recalled_ns,
        opened_ns=row.opened_ns,
        refused_ns=row.refused_ns,
        contradicted_ns=row.contradicted_ns,
    )


async def due_nodes(tx: Tx, now_ns: int, limit: int) -> list[NodeTrust]:
    """Nodes whose check is due, held until the transaction ends."""
    return list(
        await tx.scalars(
            select(NodeTrust)
            .where(NodeTrust.due_ns <= now_ns)
            .order_by(NodeTrust.due_ns, NodeTrust.node_id)
            .limit(limit)
            .with_for_update(skip_locked=True)
            .execution_options(populate_existing=True)
        )
    )


async def checked_gpus(tx: Tx, node_ids: Sequence[NodeId]) -> set[tuple[NodeId, str]]:
    """(node, GPU) of the checks under way."""
    rows = await tx.execute(
        select(WorkCheck.node_id, WorkCheck.gpu_uuid).where(
            WorkCheck.node_id.in_(node_ids), WorkCheck.state.in_(LIVE)
        )
    )
    return {(row[0], row[1]) for row in rows}
