"""HTTP of secrets: /api/v1/secrets."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from brain.edge import Page, PageQuery, get_ctx, page_of, page_query
from brain.identity import Principal, anyone
from brain.plumbing import Ctx
from brain.secrets import service, store
from brain.secrets.schemas import SecretBody, SecretOut, show
from brain.secrets.service import Vault

router = APIRouter(prefix="/api/v1/secrets", tags=["secrets"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
Reader = Annotated[Principal, Depends(anyone("read"))]
Writer = Annotated[Principal, Depends(anyone("write"))]
PageIn = Annotated[PageQuery, Depends(page_query)]
NameIn = Annotated[str, Path(max_length=100, description="As an environment variable is named.")]


def get_vault(request: Request) -> Vault:
    """What seals and opens in this process; wiring puts it on the app."""
    vault: Vault = request.app.state.vault
    return vault


VaultIn = Annotated[Vault, Depends(get_vault)]


@router.put("/{name}")
async def set_secret(
    name: NameIn, body: SecretBody, principal: Writer, ctx: CtxIn, vault: VaultIn
) -> SecretOut:
    """Set or replace a secret. Workers that start from now on are given this value."""
    async with ctx.db.begin() as tx:
        return show(
            await vault.set(
                tx,
                ctx,
                principal.account_id,
                name,
                body.value.get_secret_value(),
                principal.actor,
            )
        )


@router.get("")
async def list_secrets(principal: Reader, ctx: CtxIn, query: PageIn) -> Page[SecretOut]:
    """Names and dates, by name. Values are shown to nobody."""
    async with ctx.db.begin() as tx:
        rows = await store.page(
            tx, principal.account_id, after=query.after_one(), limit=query.limit
        )
    return page_of(rows, query, key=lambda row: row.name, show=show)


@router.delete("/{name}", status_code=204, response_class=Response)
async def delete_secret(name: NameIn, principal: Writer, ctx: CtxIn) -> Response:
    """Forget a secret. What runs keeps its value; what asks for it anew waits, and says so."""
    async with ctx.db.begin() as tx:
        await service.delete(tx, ctx, principal.account_id, name, principal.actor)
    return Response(status_code=204)
