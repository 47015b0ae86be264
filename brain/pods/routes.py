"""HTTP of pods: /api/v1/pods."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query, Request

from brain import deployments, fleet
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
from brain.identity import Principal, anyone
from brain.plumbing import Ctx, Tx
from brain.pods import service, store
from brain.pods.schemas import (
    PodCreate,
    PodEventOut,
    PodLogLineOut,
    PodLogsOut,
    PodOut,
    PodStatsOut,
    PodWhyOut,
)
from brain.pods.views import Front, at_ns, notice, show_pod, show_stats, show_why
from catalog import Catalog, Engine
from kernel.errors import BadInput, Conflict

router = APIRouter(prefix="/api/v1/pods", tags=["pods"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
Reader = Annotated[Principal, Depends(anyone("read"))]
Writer = Annotated[Principal, Depends(anyone("write"))]
KeyIn = Annotated[str | None, Depends(idempotency_key)]
PageIn = Annotated[PageQuery, Depends(page_query)]
PodIn = Annotated[str, Path(max_length=100, description="Its id, its slug or its name.")]


def get_front(request: Request) -> Front:
    """Where people reach pods; wiring puts it on the app."""
    front: Front = request.app.state.pod_front
    return front


def get_wake(request: Request) -> Callable[[], None]:
    wake: Callable[[], None] = request.app.state.wake
    return wake


def get_processes(request: Request) -> Mapping[str, Sequence[str]]:
    """Images that can run as a process as well: the stand-in's, for machines of emulated clouds."""
    catalog: Catalog = request.app.state.catalog
    return {
        template.start.image: [word.replace("{model_id}", template.id) for word in process]
        for template in catalog.of_kind(None)
        if template.engine is Engine.STANDIN and (process := template.start.process)
    }


ProcessesIn = Annotated[Mapping[str, Sequence[str]], Depends(get_processes)]
FrontIn = Annotated[Front, Depends(get_front)]
WakeIn = Annotated[Callable[[], None], Depends(get_wake)]
TelemetryIn = Annotated[fleet.Telemetry, Depends(fleet.get_telemetry)]


@router.post("", status_code=201, response_model=PodOut)
async def create(
    body: PodCreate,
    principal: Writer,
    ctx: CtxIn,
    front: FrontIn,
    wake: WakeIn,
    key: KeyIn,
    processes: ProcessesIn,
) -> object:
    """Run an image on GPUs. With ``Idempotency-Key`` a repeat answers with the first one."""
    tried = attempt(principal.account_id, "POST /api/v1/pods", key, body)
    async with ctx.db.begin() as tx:
        answer = await recall(tx, tried, at=ctx.clock.now())
        if answer is not None:
            return answer
        made = await service.create(tx, ctx, principal.account_id, body.wanted(), processes)
        shown = (await show_pod(tx, made, front)).model_dump(mode="json")
        await remember(tx, tried, shown)
    wake()
    return shown


@router.get("")
async def list_pods(
    principal: Reader,
    ctx: CtxIn,
    front: FrontIn,
    query: PageIn,
    ended: Annotated[bool, Query(description="Those that were terminated as well.")] = False,
) -> Page[PodOut]:
    """The account's pods, the newest first."""
    async with ctx.db.begin() as tx:
        rows = await store.page(
            tx,
            principal.account_id,
            after=query.after_one(),
            limit=query.limit,
            ended=ended,
        )
        found = await service.wholes(tx, rows[: query.limit])
        items = [await show_pod(tx, one, front) for one in found]
    more = len(rows) > query.limit
    return Page(items=items, next=encode_cursor(rows[query.limit - 1].pod_id) if more else None)


@router.get("/{pod}")
async def show_one(pod: PodIn, principal: Reader, ctx: CtxIn, front: FrontIn) -> PodOut:
    """One pod: state, run, addresses, volumes, cost."""
    async with ctx.db.begin() as tx:
        return await show_pod(tx, await _load(tx, pod, principal), front)


@router.post("/{pod}/start")
async def start(pod: PodIn, principal: Writer, ctx: CtxIn, front: FrontIn, wake: WakeIn) -> PodOut:
    """Start a stopped pod again: on the node of its volumes, or anywhere. May be repeated."""
    async with ctx.db.begin() as tx:
        row = await store.load(tx, pod, principal.account_id, lock=True)
        shown = await show_pod(tx, await service.start(tx, ctx, row), front)
    wake()
    return shown


@router.post("/{pod}/stop")
async def stop(pod: PodIn, principal: Writer, ctx: CtxIn, front: FrontIn, wake: WakeIn) -> PodOut:
    """End its container. Id, addresses and volumes stay; only volumes cost on. May be repeated."""
    async with ctx.db.begin() as tx:
        row = await store.load(tx, pod, principal.account_id, lock=True)
        shown = await show_pod(tx, await service.stop(tx, ctx, row), front)
    wake()
    return shown


@router.delete("/{pod}", status_code=202)
async def terminate(
    pod: PodIn,
    principal: Writer,
    ctx: CtxIn,
    front: FrontIn,
    wake: WakeIn,
    delete_volumes: Annotated[bool, Query(description="Its volumes go as well.")] = False,
) -> PodOut:
    """End it for ever. It is ``terminating`` until its container is proved gone."""
    async with ctx.db.begin() as tx:
        row = await store.load(tx, pod, principal.account_id, lock=True)
        ended = await service.terminate(tx, ctx, row, delete_volumes=delete_volumes)
        shown = await show_pod(tx, ended, front)
    wake()
    return shown


@router.get("/{pod}/events")
async def events(pod: PodIn, principal: Reader, ctx: CtxIn, query: PageIn) -> Page[PodEventOut]:
    """What happened, the oldest first."""
    after = _event_cursor(query)
    async with ctx.db.begin() as tx:
        row = await store.load(tx, pod, principal.account_id)
        rows = await deployments.own_events(tx, row.deployment_id, after=after, limit=query.limit)
    last = rows[query.limit - 1] if len(rows) > query.limit else None
    return Page(
        items=[
            PodEventOut(
                event_id=str(one.event_id),
                at=at_ns(one.at_ns),
                what=one.what.replace("replica", "run"),
                reason=one.reason,
                run_id=None if one.replica_id is None else str(one.replica_id),
            )
            for one in rows[: query.limit]
        ],
        next=encode_cursor(str(last.at_ns), str(last.event_id)) if last else None,
    )


@router.get("/{pod}/why")
async def why(pod: PodIn, principal: Reader, ctx: CtxIn) -> PodWhyOut:
    """Where it may stand and why not elsewhere: each candidate of the last plan."""
    async with ctx.db.begin() as tx:
        return await show_why(tx, await _load(tx, pod, principal))


@router.get("/{pod}/logs")
async def logs(
    pod: PodIn,
    principal: Reader,
    ctx: CtxIn,
    tail: Annotated[int, Query(ge=1, le=fleet.READ_MAX)] = 100,
) -> PodLogsOut:
    """The last lines that its runs wrote, those that ended too, in the order of time."""
    async with ctx.db.begin() as tx:
        found = await _under_agent(tx, pod, principal)
        runs = {str(run.lease_id): run for run in found.runs.runs if run.lease_id is not None}
        rows = await fleet.tail_logs(tx, list(runs), tail=tail)
    return PodLogsOut(
        items=[
            PodLogLineOut(
                run_id=str(runs[row.lease_id].replica_id),
                number=row.number,
                at=at_ns(row.at_ns),
                stream=row.stream,
                text=row.text,
            )
            for row in rows
        ]
    )


@router.get("/{pod}/stats")
async def stats(pod: PodIn, principal: Reader, ctx: CtxIn, telemetry: TelemetryIn) -> PodStatsOut:
    """What its container and its GPUs use, as its node's last beat told."""
    async with ctx.db.begin() as tx:
        found = await _under_agent(tx, pod, principal)
    run = found.runs.run
    if run is None or run.lease_id is None or not run.live:
        return show_stats(found, None)
    return show_stats(found, await fleet.lease_metrics(ctx, telemetry, run.lease_id))


async def _load(tx: Tx, pod: str, principal: Principal) -> service.Whole:
    return await service.whole(tx, await store.load(tx, pod, principal.account_id))


async def _under_agent(tx: Tx, pod: str, principal: Principal) -> service.Whole:
    """``Conflict`` while it runs at a cloud without our agent: nobody there tells us of it."""
    found = await _load(tx, pod, principal)
    there = await service.at_cloud(tx, found.runs)
    if there is not None:
        raise Conflict(notice(there), code="no_agent")
    return found


def _event_cursor(query: PageQuery) -> tuple[int, str] | None:
    if not query.after:
        return None
    if len(query.after) != 2 or not query.after[0].isdigit() or len(query.after[0]) > 19:
        raise BadInput("This cursor belongs to another list.", param="cursor")
    return int(query.after[0]), query.after[1]
