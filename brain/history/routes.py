"""HTTP of the history: measurements of nodes, deployments and replicas over time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request

from brain.edge import get_ctx
from brain.history import service
from brain.history.ports import Renters
from brain.history.schemas import HistoryOut, show
from brain.history.service import Ask, Asker
from brain.identity import PLATFORM_ACCOUNT, Principal, anyone
from brain.plumbing import Ctx
from kernel.ids import DeploymentId, NodeId, ReplicaId

router = APIRouter(prefix="/api/v1", tags=["metrics"])
STEP_MAX = 31 * 86_400

CtxIn = Annotated[Ctx, Depends(get_ctx)]
Reader = Annotated[Principal, Depends(anyone("read"))]
IdIn = Annotated[str, Path(max_length=100)]


def _renters(request: Request) -> Renters:
    renters: Renters = request.app.state.renters
    return renters


def _ask(
    from_: Annotated[
        datetime | None, Query(alias="from", description="Without it: an hour before `to`.")
    ] = None,
    to: Annotated[datetime | None, Query(description="Without it: now.")] = None,
    step: Annotated[
        int | None,
        Query(ge=10, le=STEP_MAX, description="Seconds a point; without it one that fits."),
    ] = None,
) -> Ask:
    return Ask(_seconds(from_), _seconds(to), step)


def _seconds(at: datetime | None) -> int | None:
    """A time without a zone is UTC."""
    if at is None:
        return None
    return int((at if at.tzinfo is not None else at.replace(tzinfo=UTC)).timestamp())


RentersIn = Annotated[Renters, Depends(_renters)]
AskIn = Annotated[Ask, Depends(_ask)]


@router.get("/nodes/{node_id}/metrics")
async def node_metrics(
    node_id: IdIn,
    principal: Reader,
    ctx: CtxIn,
    renters: RentersIn,
    ask: AskIn,
    gpu: Annotated[str | None, Query(max_length=200, description="One GPU, by its UUID.")] = None,
) -> HistoryOut:
    """Your own node with all its GPUs; of another's, the GPUs of your leases while you had them."""
    own = NodeId.parse(node_id)
    return show(await service.of_node(ctx, renters, _asker(principal), own, gpu, ask))


@router.get("/deployments/{deployment_id}/metrics/history")
async def deployment_metrics(
    deployment_id: IdIn, principal: Reader, ctx: CtxIn, renters: RentersIn, ask: AskIn
) -> HistoryOut:
    """GPUs and workers of the deployment's replicas over time."""
    own = DeploymentId.parse(deployment_id)
    return show(await service.of_deployment(ctx, renters, _asker(principal), own, ask))


@router.get("/replicas/{replica_id}/metrics")
async def replica_metrics(
    replica_id: IdIn, principal: Reader, ctx: CtxIn, renters: RentersIn, ask: AskIn
) -> HistoryOut:
    """GPUs and worker of one replica over time."""
    own = ReplicaId.parse(replica_id)
    return show(await service.of_replica(ctx, renters, _asker(principal), own, ask))


def _asker(principal: Principal) -> Asker:
    """An administrator may look into every node, and into the shared pool."""
    owners = [principal.account_id, *([PLATFORM_ACCOUNT] if principal.is_admin else [])]
    return Asker(principal.account_id, tuple(owners), every_node=principal.is_admin)
