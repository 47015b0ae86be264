"""Verbs on maintenance windows: announce, cancel, list; and telling who rents there."""

from __future__ import annotations

from dataclasses import dataclass

from brain import fleet
from brain.marketplace import node_of_account
from brain.plumbing import Ctx, Tx, audit
from brain.trust import standing
from brain.trust.core import windows as core
from brain.trust.models import MaintenanceWindow
from brain.trust.ports import Notice, Renters
from brain.trust.store import reliability
from brain.trust.store import windows as store
from kernel.clock import NS
from kernel.errors import Conflict, LimitReached, NotFound
from kernel.ids import AccountId, NodeId, WindowId
from kernel.reliability import Event, EventKind

TOLD_WINDOWS_MAX = 500  # windows that are looked at in one tick


@dataclass(frozen=True)
class Announcement:
    """Times of the brain's clock, in nanoseconds."""

    from_ns: int
    until_ns: int
    reason: str


async def announce(
    ctx: Ctx, node_id: NodeId, account_id: AccountId, wanted: Announcement, notice_seconds: int
) -> MaintenanceWindow:
    """Keep a window. One that comes later than the notice asks for is kept, and counts."""
    now_ns = ctx.clock.now_ns()
    core.check(wanted.from_ns, wanted.until_ns, now_ns)
    async with ctx.db.begin() as tx:
        node = await node_of_account(tx, node_id, account_id)
        if node.revoked_at is not None:
            raise Conflict("This node was revoked; it needs no maintenance.")
        if await store.open_count(tx, node_id, now_ns) >= core.OPEN_MAX:
            raise LimitReached(
                f"{core.OPEN_MAX} windows of this node are open; cancel one first.", retry_after=60
            )
        row = MaintenanceWindow(
            window_id=ctx.ids.new(WindowId),
            node_id=node_id,
            reason=wanted.reason,
            from_ns=wanted.from_ns,
            until_ns=wanted.until_ns,
            notice_ns=notice_seconds * NS,
            announced_ns=now_ns,
        )
        tx.add(row)
        await tx.flush()
        if store.view(row).late:
            said = f"announced {(row.from_ns - now_ns) // NS} s ahead; {notice_seconds} s are asked"
            late = Event(now_ns, EventKind.LATE_MAINTENANCE, row.window_id, 0, said)
            await reliability.add_events(tx, [(node_id, late)])
        await standing.restand(tx, [node_id], now_ns)
        await audit.record(tx, ctx, account_id, "maintenance.announced", row.window_id)
    return row


async def cancel(
    ctx: Ctx, node_id: NodeId, account_id: AccountId, window_id: WindowId
) -> MaintenanceWindow:
    """Take a window back, or end it early. May be repeated."""
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        await node_of_account(tx, node_id, account_id)
        row = await store.window(tx, node_id, window_id)
        if row is None:
            raise NotFound("This node has no maintenance window with this id.")
        if row.cancelled_ns is not None:
            return row
        if row.until_ns <= now_ns:
            raise Conflict("This window is over.")
        row.cancelled_ns = now_ns
        await tx.flush()
        await standing.restand(tx, [node_id], now_ns)
        await audit.record(tx, ctx, account_id, "maintenance.cancelled", window_id)
    return row


async def page(
    tx: Tx, node_id: NodeId, account_id: AccountId, *, after: str | None, limit: int
) -> list[MaintenanceWindow]:
    await node_of_account(tx, node_id, account_id)
    return await store.page(tx, node_id, after=after, limit=limit)


async def tell_renters(ctx: Ctx, renters: Renters) -> int:
    """Tell who rents on a node of its windows, each once. Returns how many notices were given.

    Levels only: whoever rents later, or was missed, is told at the next look.
    """
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        rows = await store.not_over(tx, now_ns, TOLD_WINDOWS_MAX)
        known = await store.told(tx, [row.window_id for row in rows])
        live = await fleet.live_leases_on(tx, sorted({row.node_id for row in rows}))
    given = 0
    for row in rows:
        for lease in live:
            what = _news(row, str(lease.lease_id), known)
            if lease.node_id != row.node_id or not what:
                continue
            async with ctx.db.begin() as tx:
                if not await store.mark_told(tx, row.window_id, lease.lease_id, what, now_ns):
                    continue
                notice = Notice(
                    lease_id=lease.lease_id,
                    replica_id=lease.replica_id,
                    deployment_id=lease.deployment_id,
                    node_id=row.node_id,
                    what=f"maintenance_{what}",
                    sentence=_sentence(row, what),
                )
                await renters.tell(tx, notice)
                given += 1
    return given


def _news(row: MaintenanceWindow, lease_id: str, known: set[tuple[str, str, str]]) -> str:
    """What this lease's renter is to hear of the window; empty for nothing new."""
    heard = (str(row.window_id), lease_id, "announced") in known
    if row.cancelled_ns is None:
        return "" if heard else "announced"
    told = (str(row.window_id), lease_id, "cancelled") in known
    return "cancelled" if heard and not told else ""


def _sentence(row: MaintenanceWindow, what: str) -> str:
    span = f"from {core.shown(row.from_ns)} to {core.shown(row.until_ns)}"
    why = f" ({row.reason})" if row.reason else ""
    if what == "cancelled":
        return f"The maintenance of its node {span} was cancelled."
    return (
        f"Its node has maintenance {span}{why}. Nothing is evicted; while the node is down"
        " nothing is billed. Move the work if it must not stop."
    )
