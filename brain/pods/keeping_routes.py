"""HTTP of what outlives a pod: volumes, SSH keys, registry credentials."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request, Response

from brain.edge import Page, encode_cursor
from brain.plumbing.sealing import Sealer
from brain.pods import access, store, volume_store, volumes
from brain.pods.routes import CtxIn, PageIn, Reader, Writer
from brain.pods.schemas import (
    RegistriesOut,
    RegistryCreate,
    RegistryOut,
    SshKeyCreate,
    SshKeyOut,
    SshKeysOut,
    VolumeCreate,
    VolumeOut,
)
from brain.pods.views import show_key, show_registry, show_volume
from brain.secrets import Vault
from kernel.wire.agent import RegistryLogin

router = APIRouter(prefix="/api/v1", tags=["pods"])

NamedIn = Annotated[str, Path(max_length=100, description="Its id or its name.")]


def get_sealer(request: Request) -> Sealer:
    vault: Vault = request.app.state.vault
    return vault.sealer


def get_grace_days(request: Request) -> int:
    days: int = request.app.state.settings.volume_grace_days
    return days


SealerIn = Annotated[Sealer, Depends(get_sealer)]
GraceIn = Annotated[int, Depends(get_grace_days)]


@router.post("/volumes", status_code=201)
async def make_volume(
    body: VolumeCreate, principal: Writer, ctx: CtxIn, grace: GraceIn
) -> VolumeOut:
    """A volume for pods to use. It costs nothing before a pod has used it."""
    async with ctx.db.begin() as tx:
        await volumes.check_credit(tx, principal.account_id)
        made = await volumes.create(tx, ctx, principal.account_id, body.name, body.size_gib)
        return await show_volume(tx, made, grace)


@router.get("/volumes")
async def list_volumes(
    principal: Reader, ctx: CtxIn, query: PageIn, grace: GraceIn
) -> Page[VolumeOut]:
    """The account's volumes that are, the newest first."""
    async with ctx.db.begin() as tx:
        rows = await volume_store.page(
            tx, principal.account_id, after=query.after_one(), limit=query.limit
        )
        items = [await show_volume(tx, row, grace) for row in rows[: query.limit]]
    more = len(rows) > query.limit
    return Page(items=items, next=encode_cursor(rows[query.limit - 1].volume_id) if more else None)


@router.get("/volumes/{volume}")
async def one_volume(volume: NamedIn, principal: Reader, ctx: CtxIn, grace: GraceIn) -> VolumeOut:
    """One volume: where it lies, what is on it, what it costs."""
    async with ctx.db.begin() as tx:
        row = await volume_store.load(tx, volume, principal.account_id)
        return await show_volume(tx, row, grace)


@router.delete("/volumes/{volume}", status_code=202)
async def delete_volume(
    volume: NamedIn, principal: Writer, ctx: CtxIn, grace: GraceIn
) -> VolumeOut:
    """Remove a volume with all that is on it; 409 while a pod has it. It is ``dropping`` until its
    node has it no more, and costs nothing from now on."""
    async with ctx.db.begin() as tx:
        row = await volume_store.load(tx, volume, principal.account_id, lock=True)
        await volumes.delete(tx, ctx, row, "asked")
        return await show_volume(tx, row, grace)


@router.post("/ssh-keys", status_code=201)
async def add_key(body: SshKeyCreate, principal: Writer, ctx: CtxIn) -> SshKeyOut:
    """A public key that opens a shell in each of the account's pods, from now on."""
    async with ctx.db.begin() as tx:
        row = await access.add_key(
            tx, ctx, principal.account_id, body.name, body.public_key, principal.actor
        )
        return show_key(row)


@router.get("/ssh-keys")
async def list_keys(principal: Reader, ctx: CtxIn) -> SshKeysOut:
    """All of the account's, the oldest first."""
    async with ctx.db.begin() as tx:
        rows = await store.ssh_keys(tx, principal.account_id)
    return SshKeysOut(items=[show_key(row) for row in rows])


@router.delete("/ssh-keys/{key}", status_code=204, response_class=Response)
async def delete_key(key: NamedIn, principal: Writer, ctx: CtxIn) -> Response:
    """It opens nothing any more."""
    async with ctx.db.begin() as tx:
        await access.delete_key(tx, ctx, principal.account_id, key, principal.actor)
    return Response(status_code=204)


@router.post("/registries", status_code=201)
async def add_registry(
    body: RegistryCreate, principal: Writer, ctx: CtxIn, sealer: SealerIn
) -> RegistryOut:
    """Credentials for a registry of private images. The password is sealed, and never shown."""
    login = RegistryLogin(
        server=body.server, username=body.username, password=body.password.get_secret_value()
    )
    async with ctx.db.begin() as tx:
        row = await access.add_registry(
            tx, ctx, sealer, principal.account_id, login, body.name, principal.actor
        )
        return show_registry(row)


@router.get("/registries")
async def list_registries(principal: Reader, ctx: CtxIn) -> RegistriesOut:
    """All of the account's, without passwords."""
    async with ctx.db.begin() as tx:
        rows = await store.registries(tx, principal.account_id)
    return RegistriesOut(items=[show_registry(row) for row in rows])


@router.delete("/registries/{registry}", status_code=204, response_class=Response)
async def delete_registry(registry: NamedIn, principal: Writer, ctx: CtxIn) -> Response:
    """Forget credentials; 409 while a pod pulls with them."""
    async with ctx.db.begin() as tx:
        await access.delete_registry(tx, ctx, principal.account_id, registry, principal.actor)
    return Response(status_code=204)
