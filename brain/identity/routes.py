"""HTTP of identity: /auth/* and /api/v1/keys."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Request

from brain.edge import (
    Page,
    PageQuery,
    attempt,
    get_ctx,
    idempotency_key,
    page_of,
    page_query,
)
from brain.identity import service, store
from brain.identity.core import Principal
from brain.identity.ports import Told
from brain.identity.principal import Identity, account_user, get_identity
from brain.identity.schemas import (
    KeyOut,
    LoginBody,
    MeOut,
    NewKeyBody,
    NewKeyOut,
    RegisterBody,
    RegisteredOut,
    TokenOut,
    show_key,
)
from brain.plumbing import Ctx
from kernel.errors import Unauthenticated
from kernel.ids import KeyId

router = APIRouter(tags=["identity"])

CtxIn = Annotated[Ctx, Depends(get_ctx)]
IdentityIn = Annotated[Identity, Depends(get_identity)]
UserIn = Annotated[Principal, Depends(account_user)]


def gateways(request: Request) -> Told:
    """Who is to know a key before its owner does: the next call may come with it."""
    found: Told = request.app.state.feed
    return found


@router.post("/auth/register", status_code=201)
async def register(body: RegisterBody, ctx: CtxIn, identity: IdentityIn) -> RegisteredOut:
    """Make an account. The answer does not tell whether the address was taken."""
    name = body.name or body.email.split("@")[0]
    made = await service.register(
        ctx, identity.passwords, service.NewUser(body.email, body.password, name)
    )
    return RegisteredOut(account_id=made.account_id, user_id=made.user_id)


@router.post("/auth/login")
async def login(body: LoginBody, ctx: CtxIn, identity: IdentityIn) -> TokenOut:
    """Trade e-mail and password for an access token."""
    token = await service.log_in(ctx, identity, body.email, body.password)
    return TokenOut(access_token=token.text, expires_in=token.expires_in)


@router.get("/auth/me")
async def me(principal: UserIn, ctx: CtxIn) -> MeOut:
    """Who the access token belongs to."""
    assert principal.user_id is not None, "account_user admits users only"
    async with ctx.db.begin() as tx:
        user = await store.user_by_id(tx, principal.user_id)
    if user is None:
        raise Unauthenticated("This user is gone.")
    return MeOut(
        account_id=user.account_id,
        user_id=user.id,
        email=user.email,
        name=user.name,
        roles=user.roles,
    )


@router.post("/api/v1/keys", status_code=201)
async def create_key(
    body: NewKeyBody,
    principal: UserIn,
    ctx: CtxIn,
    identity: IdentityIn,
    key: Annotated[str | None, Depends(idempotency_key)],
    served: Annotated[Told, Depends(gateways)],
) -> NewKeyOut:
    """Make an API key. Its secret is in this answer and is never shown again; gateways know it.

    With ``Idempotency-Key`` a repeat makes no second key: 409 names the one that was made.
    """
    tried = attempt(principal.account_id, "POST /api/v1/keys", key, body)
    new = service.NewKey(
        name=body.name,
        scopes=frozenset(scope.value for scope in body.scopes),
        expires_in_days=body.expires_in_days,
        models=None if body.models is None else tuple(set(body.models)),
        cost_limit_nano=body.cost_limit_nano(),
        requests_per_minute=body.requests_per_minute,
        tokens_per_minute=body.tokens_per_minute,
        requests_at_once=body.requests_at_once,
    )
    row, secret = await service.create_key(ctx, identity, principal, new, tried)
    await served.told("key", str(row.id))
    return NewKeyOut(key=secret.text, **show_key(row).model_dump())


@router.get("/api/v1/keys")
async def list_keys(
    principal: UserIn, ctx: CtxIn, query: Annotated[PageQuery, Depends(page_query)]
) -> Page[KeyOut]:
    """The account's keys, newest first, without their secrets."""
    after = query.after_one()
    before = None if after is None else KeyId.parse(after)
    async with ctx.db.begin() as tx:
        rows = await store.keys_of_account(
            tx, principal.account_id, before=before, limit=query.limit + 1
        )
    return page_of(rows, query, key=lambda row: row.id, show=show_key)


@router.delete("/api/v1/keys/{key_id}", status_code=204)
async def revoke_key(key_id: str, principal: UserIn, ctx: CtxIn) -> None:
    """Revoke a key: refused everywhere within a second."""
    await service.revoke_key(ctx, principal, KeyId.parse(key_id))


@router.post("/api/v1/keys/{key_id}/activate")
async def activate_key(key_id: str, principal: UserIn, ctx: CtxIn) -> KeyOut:
    """Let a revoked key work again."""
    return show_key(await service.activate_key(ctx, principal, KeyId.parse(key_id)))
