"""HTTP of deployments: /api/v1/deployments."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request, Response

from brain import fleet
from brain.deployments import service, store, updates
from brain.deployments.metric_schemas import MetricsOut, show_metrics
from brain.deployments.models import Deployment
from brain.deployments.schemas import (
    DeploymentCreate,
    DeploymentOut,
    EventOut,
    Scale,
    WhyOut,
    show,
    show_event,
    show_why,
)
from brain.deployments.service import Whole
from brain.deployments.updates import Change
from brain.edge import (
    Page,
    PageQuery,
    attempt,
    encode_cursor,
    get_ctx,
    idempotency_key,
    page_query,
    recall,
    remember,
)
from brain.identity import PLATFORM_ACCOUNT, Principal, anyone
from brain.plumbing import Ctx, Tx
from catalog import Catalog
from kernel.errors import BadInput, Forbidden
from kernel.ids import AccountId, DeploymentId

router = APIRouter(prefix="/api/v1/deployments", tags=["deployments"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
Reader = Annotated[Principal, Depends(anyone("read"))]
Writer = Annotated[Principal, Depends(anyone("write"))]
KeyIn = Annotated[str | None, Depends(idempotency_key)]
PageIn = Annotated[PageQuery, Depends(page_query)]
IdIn = Annotated[str, Path(max_length=100)]


def get_catalog(request: Request) -> Catalog:
    catalog: Catalog = request.app.state.catalog
    return catalog


def get_wake(request: Request) -> Callable[[], None]:
    """Tells the workers that there is news; losing it costs latency only."""
    wake: Callable[[], None] = request.app.state.wake
    return wake


def get_telemetry(request: Request) -> fleet.Telemetry:
    agents: fleet.AgentFront = request.app.state.agents
    return agents.telemetry


CatalogIn = Annotated[Catalog, Depends(get_catalog)]
TelemetryIn = Annotated[fleet.Telemetry, Depends(get_telemetry)]
WakeIn = Annotated[Callable[[], None], Depends(get_wake)]


@router.post("", status_code=201, response_model=DeploymentOut)
async def create(
    body: DeploymentCreate,
    principal: Writer,
    ctx: CtxIn,
    catalog: CatalogIn,
    wake: WakeIn,
    key: KeyIn,
) -> object:
    """Deploy a catalog model. With ``Idempotency-Key`` a repeat answers with the first one."""
    if body.pool and not principal.is_admin:
        raise Forbidden("Only an administrator adds a model to the shared pool.", param="pool")
    tried = attempt(principal.account_id, "POST /api/v1/deployments", key, body)
    async with ctx.db.begin() as tx:
        answer = await recall(tx, tried, at=ctx.clock.now())
        if answer is not None:
            return answer
        made = await service.create(tx, ctx, catalog, principal.account_id, body.wanted())
        shown = show(made).model_dump(mode="json")
        await remember(tx, tried, shown)
    wake()
    return shown


@router.get("")
async def list_deployments(
    principal: Reader,
    ctx: CtxIn,
    query: PageIn,
    pool: Annotated[bool, Query(description="Administrators: the shared pool's.")] = False,
) -> Page[DeploymentOut]:
    """The account's deployments, the newest first."""
    if pool and not principal.is_admin:
        raise Forbidden("Only an administrator lists the shared pool's deployments.")
    account_id = PLATFORM_ACCOUNT if pool else principal.account_id
    async with ctx.db.begin() as tx:
        rows = await store.page(tx, account_id, after=query.after_one(), limit=query.limit)
        shown = [await service.whole(tx, row) for row in rows[: query.limit]]
    following = len(rows) > query.limit
    return Page(
        items=[show(found) for found in shown],
        next=encode_cursor(rows[query.limit - 1].deployment_id) if following else None,
    )


@router.get("/{deployment_id}")
async def get(deployment_id: IdIn, principal: Reader, ctx: CtxIn) -> DeploymentOut:
    """State, replicas with times and reasons."""
    async with ctx.db.begin() as tx:
        return show(await _load(tx, deployment_id, principal))


@router.get("/{deployment_id}/events")
async def events(
    deployment_id: IdIn, principal: Reader, ctx: CtxIn, query: PageIn
) -> Page[EventOut]:
    """What happened, the oldest first."""
    async with ctx.db.begin() as tx:
        found = await _load(tx, deployment_id, principal)
        after = _event_cursor(query)
        rows = await store.events(
            tx, found.deployment.deployment_id, after=after, limit=query.limit
        )
    more = len(rows) > query.limit
    last = rows[query.limit - 1] if more else None
    return Page(
        items=[show_event(row) for row in rows[: query.limit]],
        next=encode_cursor(str(last.at_ns), last.event_id) if last else None,
    )


@router.get("/{deployment_id}/why")
async def why(deployment_id: IdIn, principal: Reader, ctx: CtxIn) -> WhyOut:
    """Where it may stand and why not elsewhere: each candidate of the last plan."""
    async with ctx.db.begin() as tx:
        found = await _load(tx, deployment_id, principal)
        kept = await store.placement(tx, found.deployment.deployment_id)
    return show_why(found, kept)


@router.get("/{deployment_id}/metrics")
async def metrics(
    deployment_id: IdIn, principal: Reader, ctx: CtxIn, telemetry: TelemetryIn
) -> MetricsOut:
    """Each live worker's own gauges, as its agent last reported them."""
    async with ctx.db.begin() as tx:
        found = await _load(tx, deployment_id, principal)
    items = []
    for row in found.replicas:
        if row.lease_id is None or row.ended_ns is not None:
            continue
        seen = await fleet.lease_metrics(ctx, telemetry, row.lease_id)
        items.append(show_metrics(row, seen))
    return MetricsOut(items=items)


@router.post("/{deployment_id}/stop")
async def stop(deployment_id: IdIn, principal: Writer, ctx: CtxIn, wake: WakeIn) -> DeploymentOut:
    """Stop it: requests in flight end first. May be repeated."""
    async with ctx.db.begin() as tx:
        row = await own_deployment(tx, deployment_id, principal)
        shown = show(await service.stop(tx, ctx, row.deployment_id, row.account_id))
    wake()
    return shown


@router.post("/{deployment_id}/start")
async def start(deployment_id: IdIn, principal: Writer, ctx: CtxIn, wake: WakeIn) -> DeploymentOut:
    """Start a stopped deployment again. May be repeated."""
    async with ctx.db.begin() as tx:
        row = await own_deployment(tx, deployment_id, principal)
        shown = show(await service.start(tx, ctx, row.deployment_id, row.account_id))
    wake()
    return shown


@router.post("/{deployment_id}/scale")
async def scale(
    deployment_id: IdIn,
    body: Scale,
    principal: Writer,
    ctx: CtxIn,
    catalog: CatalogIn,
    wake: WakeIn,
) -> DeploymentOut:
    """Ask for a number of replicas (0 puts it to sleep), or for bounds within which its load
    decides."""
    bounds = body.scaling()
    if (body.replicas is None) == (not bounds):
        raise BadInput("Say replicas, or bounds such as max_replicas.", param="replicas")
    async with ctx.db.begin() as tx:
        row = await own_deployment(tx, deployment_id, principal)
        its = row.deployment_id, row.account_id
        if bounds:
            shown = show(await updates.update(tx, ctx, catalog, *its, Change(terms=bounds)))
        else:
            shown = show(await service.scale(tx, ctx, *its, body.replicas or 0))
    wake()
    return shown


@router.delete("/{deployment_id}", status_code=204, response_class=Response)
async def delete(deployment_id: IdIn, principal: Writer, ctx: CtxIn) -> Response:
    """Put a stopped deployment away; 409 while it is not stopped."""
    async with ctx.db.begin() as tx:
        row = await own_deployment(tx, deployment_id, principal)
        await service.delete(tx, ctx, row.deployment_id, row.account_id)
    return Response(status_code=204)


async def _load(tx: Tx, text: str, principal: Principal) -> Whole:
    return await service.whole(tx, await own_deployment(tx, text, principal))


async def own_deployment(tx: Tx, text: str, principal: Principal) -> Deployment:
    """The account's own, or for an administrator the shared pool's; else ``NotFound``."""
    deployment_id = DeploymentId.parse(text)
    owners: list[AccountId] = [principal.account_id]
    if principal.is_admin:
        owners.append(PLATFORM_ACCOUNT)
    return await store.load(tx, deployment_id, owners)


def _event_cursor(query: PageQuery) -> tuple[int, str] | None:
    if not query.after:
        return None
    if len(query.after) != 2 or not query.after[0].isdigit() or len(query.after[0]) > 19:
        raise BadInput("This cursor belongs to another list.", param="cursor")
    return int(query.after[0]), query.after[1]
