"""HTTP of providers' earnings."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.requests import Request

from brain import billing, fleet
from brain.earnings import core
from brain.earnings.core import Sum
from brain.earnings.schemas import EarnedDayView, EarnedNodeView, EarningsView
from brain.edge import get_ctx
from brain.fleet import NodeFacts
from brain.identity import Principal, anyone
from brain.plumbing import Ctx
from kernel.clock import NS
from kernel.ids import NodeId
from kernel.money import Money

DAYS_MAX = 366
DAY_SECONDS = 86_400

router = APIRouter(tags=["provider"])


def get_matures_seconds(request: Request) -> int:
    """How long a bill may be disputed before it is paid out; wiring puts it on the app."""
    seconds: int = request.app.state.settings.earnings_mature_seconds
    return seconds


@router.get("/api/v1/provider/earnings")
async def earnings(
    ctx: Annotated[Ctx, Depends(get_ctx)],
    principal: Annotated[Principal, Depends(anyone("read"))],
    matures: Annotated[int, Depends(get_matures_seconds)],
    days: Annotated[int, Query(ge=1, le=DAYS_MAX, description="How far back.")] = 30,
) -> EarningsView:
    """What your nodes and volumes on them earned: in all, and of late by node and by day."""
    now_ns = ctx.clock.now_ns()
    since_ns = now_ns - days * DAY_SECONDS * NS
    own = principal.account_id
    async with ctx.db.begin() as tx:
        whole = await billing.earned(tx, own, now_ns - matures * NS)
        owed = await billing.payable(tx, own, now_ns - matures * NS)
        parts = await billing.earned_by_day(tx, own, since_ns)
        nodes = await fleet.nodes_of_account(tx, own)
        ids = [part.lease_id for part in parts if part.lease_id is not None]
        placed = await fleet.nodes_of_leases(tx, ids)
        leased = await fleet.leased_gpu_ns(
            tx, [node.node_id for node in nodes], since_ns=since_ns, now_ns=now_ns
        )
    sums = core.by_node(parts, placed)
    shown = [_node(node, sums, leased, since_ns, now_ns) for node in nodes]
    if None in sums:
        shown.append(_volumes(sums[None]))
    return EarningsView(
        pending_nano=whole.pending_nano,
        pending_usd=str(Money(whole.pending_nano)),
        matured_nano=whole.matured_nano,
        matured_usd=str(Money(whole.matured_nano)),
        unpaid_nano=whole.unpaid_nano,
        payable_nano=owed.payable_nano,
        payable_usd=str(Money(owed.payable_nano)),
        under_way_nano=owed.under_way_nano,
        under_way_usd=str(Money(owed.under_way_nano)),
        matures_after_seconds=matures,
        days=days,
        by_node=shown,
        by_day=[_day(day, found) for day, found in core.by_day(parts).items()],
    )


def _node(
    node: NodeFacts,
    sums: dict[NodeId | None, Sum],
    leased: dict[NodeId, int],
    since_ns: int,
    now_ns: int,
) -> EarnedNodeView:
    found = sums.get(node.node_id, Sum())
    span_ns = now_ns - max(since_ns, node.since_ns)
    return EarnedNodeView(
        node_id=node.node_id,
        name=node.name,
        gpus=node.gpus,
        gpu_seconds=_seconds(found.gpu_ns),
        earned_nano=found.earned_nano,
        earned_usd=str(Money(found.earned_nano)),
        utilisation_ppm=core.utilisation_ppm(leased.get(node.node_id, 0), node.gpus, span_ns),
    )


def _volumes(found: Sum) -> EarnedNodeView:
    return EarnedNodeView(
        node_id=None,
        name="volumes",
        gpus=0,
        gpu_seconds="0",
        earned_nano=found.earned_nano,
        earned_usd=str(Money(found.earned_nano)),
        utilisation_ppm=0,
    )


def _day(day: int, found: Sum) -> EarnedDayView:
    return EarnedDayView(
        day=datetime.fromtimestamp(day * DAY_SECONDS, UTC).date().isoformat(),
        gpu_seconds=_seconds(found.gpu_ns),
        earned_nano=found.earned_nano,
        earned_usd=str(Money(found.earned_nano)),
    )


def _seconds(gpu_ns: int) -> str:
    return f"{Decimal(gpu_ns) / NS:.3f}"
