"""HTTP of volumes that nobody owns: for administrators."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field

from brain.identity import Principal, admin_user
from brain.pods import strays
from brain.pods.routes import CtxIn
from brain.pods.schemas import StrayOut
from brain.pods.strays import Stray
from brain.pods.views import show_stray
from kernel.ids import NodeId

router = APIRouter(prefix="/api/v1/admin/volumes", tags=["pods"])

AdminIn = Annotated[Principal, Depends(admin_user)]
NodeIn = Annotated[str, Path(max_length=100, description="The node's id.")]
VolumeIn = Annotated[str, Path(max_length=200, description="The id that the node reports.")]


class StrayShown(StrayOut):
    dropping: bool = Field(description="Its node is told to remove it.")


class StraysShown(BaseModel):
    items: list[StrayShown]


@router.get("/strays")
async def list_strays(
    principal: AdminIn, ctx: CtxIn, limit: Annotated[int, Query(ge=1, le=500)] = 200
) -> StraysShown:
    """Volumes that nodes report and nobody owns there. They are never removed by themselves."""
    async with ctx.db.begin() as tx:
        return StraysShown(items=[_show(one) for one in await strays.listed(tx, limit=limit)])


@router.delete("/strays/{node}/{volume}", status_code=202)
async def drop_stray(node: NodeIn, volume: VolumeIn, principal: AdminIn, ctx: CtxIn) -> StrayShown:
    """Have its node remove one with all that is on it; there is no way back. It is ``dropping``
    until the node reports it no more. Written into the audit log. 409 when it has an owner."""
    async with ctx.db.begin() as tx:
        return _show(await strays.drop(tx, ctx, NodeId.parse(node), volume, principal.actor))


def _show(one: Stray) -> StrayShown:
    return StrayShown(**show_stray(one.row).model_dump(), dropping=one.dropping)
