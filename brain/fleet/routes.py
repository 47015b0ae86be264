"""HTTP of the fleet: the agents' protocol, and nodes for people."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.requests import Request

from brain.edge import Page, PageQuery, get_ctx, page_of, page_query
from brain.fleet import calls, nodes
from brain.fleet.calls import get_front
from brain.fleet.core import SILENT_NS, is_outdated
from brain.fleet.front import AgentFront
from brain.fleet.nodes import NodeRows
from brain.fleet.schemas import NodeView, RevokedView
from brain.fleet.showing import show_gpu, show_host
from brain.fleet.telemetry import LastBeat
from brain.identity import Principal, account_user, anyone
from brain.marketplace import latest_agent
from brain.plumbing import Ctx
from kernel.clock import NS
from kernel.ids import AccountId, NodeId
from kernel.money import NANO

router = APIRouter(tags=["nodes"])
router.add_route("/agent/v1/session", calls.session, methods=["POST"])
router.add_route("/agent/v1/beat", calls.beat, methods=["POST"])
router.add_route("/agent/v1/rotate", calls.rotate, methods=["POST"])
router.add_route("/agent/v1/leave", calls.leave, methods=["POST"])
router.add_route("/agent/v1/wake", calls.wake, methods=["GET"])
router.add_route("/agent/v1/logs", calls.log_lines, methods=["POST"])
router.add_route("/agent/v1/secrets", calls.secrets, methods=["POST"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
QueryIn = Annotated[PageQuery, Depends(page_query)]
ReaderIn = Annotated[Principal, Depends(anyone("read"))]
UserIn = Annotated[Principal, Depends(account_user)]


def _front(request: Request) -> AgentFront:
    return get_front(request)


FrontIn = Annotated[AgentFront, Depends(_front)]
LatestIn = Annotated[str, Depends(latest_agent)]


@router.get("/api/v1/nodes")
async def list_nodes(
    ctx: CtxIn, front: FrontIn, query: QueryIn, principal: ReaderIn, latest: LatestIn
) -> Page[NodeView]:
    """Nodes that are on offer, and your own, with what they last reported."""
    return await _page(ctx, front, query, principal.account_id, latest, own=False)


@router.get("/api/v1/provider/nodes")
async def list_own_nodes(
    ctx: CtxIn, front: FrontIn, query: QueryIn, principal: UserIn, latest: LatestIn
) -> Page[NodeView]:
    """Your own nodes, listed or not."""
    return await _page(ctx, front, query, principal.account_id, latest, own=True)


@router.delete("/api/v1/provider/nodes/{node_id}")
async def revoke_node(ctx: CtxIn, front: FrontIn, principal: UserIn, node_id: str) -> RevokedView:
    """Refuse the node's key from now on. Its leases end; it must enrol anew to come back."""
    own = NodeId.parse(node_id)
    ending = await nodes.revoke(ctx, front.watcher, own, principal.account_id)
    return RevokedView(node_id=own, leases_ending=ending)


async def _page(
    ctx: Ctx, front: AgentFront, query: PageQuery, account_id: AccountId, latest: str, *, own: bool
) -> Page[NodeView]:
    async with ctx.db.begin() as tx:
        rows = await nodes.visible_nodes(
            tx, account_id, after=query.after_one(), limit=query.limit + 1, own=own
        )
    last = await front.telemetry.last([row.node.node_id for row in rows[: query.limit]])
    now_ns = ctx.clock.now_ns()
    return page_of(
        rows,
        query,
        key=lambda row: row.node.node_id,
        show=lambda row: _show(row, last.get(row.node.node_id), account_id, now_ns, latest),
    )


def _show(
    row: NodeRows, last: LastBeat | None, account_id: AccountId, now_ns: int, latest: str
) -> NodeView:
    node, fleet = row.node, row.fleet
    state, reason, age = _state(row, now_ns)
    readings = {} if last is None else {gpu.uuid: gpu for gpu in last.beat.gpus}
    return NodeView(
        node_id=node.node_id,
        name=node.name,
        state=state,
        state_reason=reason,
        yours=node.account_id == account_id,
        listed=node.listed,
        simulated=any(gpu.simulated for gpu in row.gpus),
        region=node.region,
        price_usd_per_gpu_hour=f"{node.price_nano // NANO}.{node.price_nano % NANO:09d}",
        price_nano_per_gpu_hour=node.price_nano,
        gpus_total=len(row.gpus),
        gpus_free=sum(
            not g.lost and not g.foreign_use and not g.unhealthy and g.gpu_uuid not in row.held
            for g in row.gpus
        ),
        gpus=[show_gpu(g, readings, held=g.gpu_uuid in row.held) for g in row.gpus],
        age_seconds=age,
        nvml="" if fleet is None else fleet.nvml,
        engine="" if fleet is None else fleet.engine,
        agent_version="" if fleet is None else fleet.agent_version,
        agent_outdated=is_outdated("" if fleet is None else fleet.agent_version, latest),
        host=show_host(last),
        leases=row.leases,
    )


def _state(row: NodeRows, now_ns: int) -> tuple[str, str, float | None]:
    if row.fleet is None or row.beat is None or row.beat.last_seen_ns == 0:
        return "never_heard", "its agent has not spoken yet", None
    age_ns = max(0, now_ns - row.beat.last_seen_ns)
    age = round(age_ns / NS, 1)
    if row.fleet.quarantined:
        return "quarantined", row.fleet.quarantined, age
    if row.fleet.silent_since_ns is not None or age_ns >= SILENT_NS:
        return "silent", f"last heard {age:.0f} s ago", age
    return "online", "", age
