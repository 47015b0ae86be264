"""HTTP of trust: maintenance windows, the open score, what checks found, modes of checks."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends

from brain import fleet
from brain.edge import Page, PageQuery, get_ctx, page_of, page_query
from brain.fleet import Standing
from brain.identity import Principal, account_user, admin_user, anyone
from brain.marketplace import node_of_account
from brain.plumbing import Ctx
from brain.trust import modes, scores, show, windows
from brain.trust.core.kinds import Mode
from brain.trust.schemas import (
    DueOut,
    ModeBody,
    ModesOut,
    NodeChecksOut,
    ReliabilityOut,
    WindowBody,
    WindowOut,
)
from brain.trust.store import checks as check_store
from brain.trust.store import findings as finding_store
from brain.trust.terms import TrustTerms, get_terms
from brain.trust.windows import Announcement
from kernel.errors import NotFound
from kernel.ids import NodeId, WindowId

REPORTS_SHOWN = 10
FINDINGS_SHOWN = 100
CHECKS_SHOWN = 20

router = APIRouter(tags=["trust"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
QueryIn = Annotated[PageQuery, Depends(page_query)]
ReaderIn = Annotated[Principal, Depends(anyone("read"))]
UserIn = Annotated[Principal, Depends(account_user)]
AdminIn = Annotated[Principal, Depends(admin_user)]
TermsIn = Annotated[TrustTerms, Depends(get_terms)]


@router.post("/api/v1/provider/nodes/{node_id}/maintenance", status_code=201)
async def announce(
    body: WindowBody, ctx: CtxIn, principal: UserIn, terms: TermsIn, node_id: str
) -> WindowOut:
    """Announce maintenance of your node. Nothing is evicted; who rents there is told."""
    wanted = Announcement(_ns(body.from_), _ns(body.until), body.reason)
    row = await windows.announce(
        ctx, NodeId.parse(node_id), principal.account_id, wanted, terms.notice_seconds
    )
    return show.window(row, ctx.clock.now_ns())


@router.get("/api/v1/provider/nodes/{node_id}/maintenance")
async def list_windows(
    ctx: CtxIn, principal: UserIn, query: QueryIn, node_id: str
) -> Page[WindowOut]:
    """Every window of your node, in the order of their announcement."""
    own, now_ns = NodeId.parse(node_id), ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        rows = await windows.page(
            tx, own, principal.account_id, after=query.after_one(), limit=query.limit + 1
        )
    return page_of(
        rows, query, key=lambda row: row.window_id, show=lambda row: show.window(row, now_ns)
    )


@router.delete("/api/v1/provider/nodes/{node_id}/maintenance/{window_id}")
async def cancel(ctx: CtxIn, principal: UserIn, node_id: str, window_id: str) -> WindowOut:
    """Take a window back, or end it early. Who was told of it is told."""
    row = await windows.cancel(
        ctx, NodeId.parse(node_id), principal.account_id, WindowId.parse(window_id)
    )
    return show.window(row, ctx.clock.now_ns())


@router.get("/api/v1/nodes/{node_id}/reliability")
async def reliability(ctx: CtxIn, principal: ReaderIn, node_id: str) -> ReliabilityOut:
    """The node's score and every event in it: enough to compute it again."""
    async with ctx.db.begin() as tx:
        node = await scores.visible_node(tx, NodeId.parse(node_id), principal.account_id)
        found = await scores.scored(tx, node)
    if found is None:
        raise NotFound("This node has no score yet; it has one a minute after it joined.")
    return show.reliability(found)


@router.get("/api/v1/provider/nodes/{node_id}/checks")
async def node_checks(ctx: CtxIn, principal: UserIn, node_id: str) -> NodeChecksOut:
    """What your node's agent told of its machine, and what the checks of its GPUs found."""
    own = NodeId.parse(node_id)
    async with ctx.db.begin() as tx:
        await node_of_account(tx, own, principal.account_id)
        standing = (await fleet.standings(tx, [own])).get(own, Standing())
        reports = await finding_store.reports(tx, own, REPORTS_SHOWN)
        found = await finding_store.findings_of(tx, own, FINDINGS_SHOWN)
        rows = await check_store.of_node(tx, own, CHECKS_SHOWN)
    return show.node_checks(own, standing.withheld, reports, rows, found)


@router.get("/api/v1/admin/checks")
async def list_modes(ctx: CtxIn, principal: AdminIn, terms: TermsIn) -> ModesOut:
    """Each kind of check: its mode, since when, and how often it failed and was wrong."""
    return ModesOut(items=[show.mode(one, terms) for one in await modes.every(ctx)])


@router.put("/api/v1/admin/checks/{kind}")
async def set_mode(
    body: ModeBody, ctx: CtxIn, principal: AdminIn, terms: TermsIn, kind: str
) -> ModesOut:
    """Put a kind of check into a mode. Enforced needs days in shadow mode first."""
    chosen = modes.kind_of(kind)
    await modes.put(ctx, principal.account_id, chosen, Mode(body.mode), terms.shadow_days_min)
    found = await modes.every(ctx)
    return ModesOut(items=[show.mode(one, terms) for one in found if one.kind is chosen])


@router.post("/api/v1/admin/nodes/{node_id}/check")
async def check_now(ctx: CtxIn, principal: AdminIn, node_id: str) -> DueOut:
    """Have the node's idle GPUs checked at the next look."""
    own = NodeId.parse(node_id)
    async with ctx.db.begin() as tx:
        if not await check_store.due_now(tx, own):
            raise NotFound("There is no node with this id, or it was never looked at.")
    return DueOut(node_id=own)


def _ns(at: datetime) -> int:
    return int(at.timestamp()) * 1_000_000_000
