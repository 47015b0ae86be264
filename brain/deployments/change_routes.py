"""HTTP of what changes while it runs: PATCH, rollback, revisions."""

from __future__ import annotations

from fastapi import APIRouter

from brain.deployments import rollouts, updates
from brain.deployments.change_schemas import (
    DeploymentPatch,
    RevisionOut,
    Rollback,
    show_revision,
)
from brain.deployments.routes import (
    CatalogIn,
    CtxIn,
    IdIn,
    PageIn,
    Reader,
    WakeIn,
    Writer,
    own_deployment,
)
from brain.deployments.schemas import DeploymentOut, show
from brain.edge import Page, page_of
from kernel.errors import BadInput

router = APIRouter(prefix="/api/v1/deployments", tags=["deployments"])


@router.patch("/{deployment_id}")
async def update(
    deployment_id: IdIn,
    body: DeploymentPatch,
    principal: Writer,
    ctx: CtxIn,
    catalog: CatalogIn,
    wake: WakeIn,
) -> DeploymentOut:
    """Change what is named. What workers are made of makes a new revision, which is rolled out
    while the old one serves; it goes back by itself when its workers do not get ready."""
    async with ctx.db.begin() as tx:
        row = await own_deployment(tx, deployment_id, principal)
        change = body.change(row.model)
        found = await updates.update(tx, ctx, catalog, row.deployment_id, row.account_id, change)
        shown = show(found)
    wake()
    return shown


@router.post("/{deployment_id}/rollback")
async def rollback(
    deployment_id: IdIn,
    body: Rollback,
    principal: Writer,
    ctx: CtxIn,
    catalog: CatalogIn,
    wake: WakeIn,
) -> DeploymentOut:
    """Go back to the last good revision, or to the one that is named; 409 when there is none."""
    async with ctx.db.begin() as tx:
        row = await own_deployment(tx, deployment_id, principal)
        found = await updates.roll_back(
            tx, ctx, catalog, row.deployment_id, row.account_id, body.revision
        )
        shown = show(found)
    wake()
    return shown


@router.get("/{deployment_id}/revisions")
async def list_revisions(
    deployment_id: IdIn, principal: Reader, ctx: CtxIn, query: PageIn
) -> Page[RevisionOut]:
    """What it was asked to run, the newest first, and what became of each."""
    after = query.after_one()
    if after is not None and (not after.isdigit() or len(after) > 7):
        raise BadInput("This cursor belongs to another list.", param="cursor")
    async with ctx.db.begin() as tx:
        row = await own_deployment(tx, deployment_id, principal)
        before = None if after is None else int(after)
        rows = await rollouts.listed(tx, row.deployment_id, before=before, limit=query.limit)
    return page_of(
        rows,
        query,
        key=lambda one: str(one.number),
        show=lambda one: show_revision(one, row.revision),
    )
