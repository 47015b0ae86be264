"""HTTP of provisioning: money at risk for administrators, the agent's code for machines."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path
from starlette.requests import Request
from starlette.responses import Response

from brain.edge import get_ctx
from brain.identity import Principal, admin_user
from brain.plumbing import Ctx, audit
from brain.provisioning import store
from brain.provisioning.code import agent_code
from brain.provisioning.risk import money_at_risk
from brain.provisioning.schemas import CloudOut, CloudsOut, FreezeBody, show
from brain.provisioning.sweep import freeze, unfreeze
from kernel.errors import NotFound

router = APIRouter(tags=["clouds"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
AdminIn = Annotated[Principal, Depends(admin_user)]
CloudIn = Annotated[str, Path(max_length=60, pattern=r"^[a-z0-9_-]+$")]
CODE_SECONDS = 300


@router.get("/api/v1/admin/clouds")
async def clouds(principal: AdminIn, ctx: CtxIn) -> CloudsOut:
    """Each account's state, every machine that stands or may stand, what it costs, what is
    wrong."""
    async with ctx.db.begin() as tx:
        return show(await money_at_risk(tx, now_ns=ctx.clock.now_ns()))


@router.post("/api/v1/admin/clouds/{cloud}/freeze")
async def freeze_cloud(
    body: FreezeBody, principal: AdminIn, ctx: CtxIn, cloud: CloudIn
) -> CloudOut:
    """From now on nothing unknown is destroyed at this cloud. May be repeated."""
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        if await store.account_state(tx, cloud) is None:
            raise _unknown_cloud(cloud)
        account = await store.account(tx, cloud, now_ns, lock=True)
        if account.frozen_ns is None:
            await freeze(tx, account, body.reason, now_ns)
            await audit.record(
                tx, ctx, principal.actor, "cloud.frozen", cloud, {"reason": body.reason}
            )
    return await _one(ctx, cloud)


@router.post("/api/v1/admin/clouds/{cloud}/unfreeze")
async def unfreeze_cloud(principal: AdminIn, ctx: CtxIn, cloud: CloudIn) -> CloudOut:
    """You looked at the unknown machines: those of now may be destroyed. May be repeated."""
    now_ns = ctx.clock.now_ns()
    async with ctx.db.begin() as tx:
        if await store.account_state(tx, cloud) is None:
            raise _unknown_cloud(cloud)
        account = await store.account(tx, cloud, now_ns, lock=True)
        if account.frozen_ns is not None:
            await unfreeze(tx, account, now_ns)
            detail = {"allowed": " ".join(account.allowed_unknown)[:1000]}
            await audit.record(tx, ctx, principal.actor, "cloud.unfrozen", cloud, detail)
    return await _one(ctx, cloud)


async def _one(ctx: Ctx, cloud: str) -> CloudOut:
    async with ctx.db.begin() as tx:
        shown = show(await money_at_risk(tx, now_ns=ctx.clock.now_ns()))
    return next(one for one in shown.clouds if one.cloud == cloud)


def _unknown_cloud(cloud: str) -> NotFound:
    return NotFound(f"No account at a cloud {cloud} was ever used.")


async def code(request: Request) -> Response:
    """GET /agent/code: what a rented machine starts, no secret in it. Machines have its digest."""
    made = agent_code()
    headers = {"etag": f'"{made.sha256}"', "cache-control": f"public, max-age={CODE_SECONDS}"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(made.content, media_type="application/zip", headers=headers)


router.add_route("/agent/code", code, methods=["GET"])
