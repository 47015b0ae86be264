"""Who is calling: FastAPI dependencies that turn a credential into a ``Principal`` or a refusal.

Account routes take an access token, service routes an API key, neither in the other's place.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cache
from typing import Annotated

from fastapi import Depends
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.requests import Request

from brain.edge import Limits, get_ctx, get_limits
from brain.identity import store
from brain.identity.core import (
    Principal,
    Scope,
    admit_key,
    digest_of,
    looks_like_access_token,
    looks_like_key,
)
from brain.identity.passwords import Passwords
from brain.identity.ports import CreditGate
from brain.identity.tokens import Tokens
from brain.plumbing import Ctx
from kernel.errors import Forbidden, Unauthenticated

Judge = Callable[..., Awaitable[Principal]]

ALL_SCOPES = frozenset(scope.value for scope in Scope)

access_token = HTTPBearer(
    scheme_name="accessToken",
    bearerFormat="JWT",
    description="The `access_token` of POST /auth/login. For account routes.",
    auto_error=False,
)
api_key = HTTPBearer(
    scheme_name="apiKey",
    bearerFormat="gk_...",
    description="A key of POST /api/v1/keys. For service routes.",
    auto_error=False,
)

Given = HTTPAuthorizationCredentials | None


@dataclass(frozen=True)
class Identity:
    """What identity's routes work with; wiring puts it on the app as ``state.identity``."""

    tokens: Tokens
    passwords: Passwords
    gate: CreditGate
    credits_for_key_min: int
    key_requests_max: int = 10**9  # a minute: the most that a key may be made with


def get_identity(request: Request) -> Identity:
    identity: Identity = request.app.state.identity
    return identity


async def account_user(
    request: Request,
    given: Annotated[Given, Depends(access_token)],
    ctx: Annotated[Ctx, Depends(get_ctx)],
) -> Principal:
    """A logged-in user. API keys are refused here."""
    text = _text(given, "an access token")
    return await _user(get_identity(request), ctx, get_limits(request), text)


async def admin_user(principal: Annotated[Principal, Depends(account_user)]) -> Principal:
    """A logged-in administrator of the platform."""
    if not principal.is_admin:
        raise Forbidden("Only an administrator may do this.")
    return principal


@cache
def service_key(scope: str) -> Judge:
    """An API key with ``scope``. Access tokens are refused here."""

    async def with_key(
        request: Request,
        given: Annotated[Given, Depends(api_key)],
        ctx: Annotated[Ctx, Depends(get_ctx)],
    ) -> Principal:
        return await _key(ctx, get_limits(request), _text(given, "an API key"), scope)

    return with_key


@cache
def anyone(scope: str) -> Judge:
    """A logged-in user, or an API key with ``scope``."""

    async def with_either(
        request: Request,
        token: Annotated[Given, Depends(access_token)],
        _key_scheme: Annotated[Given, Depends(api_key)],
        ctx: Annotated[Ctx, Depends(get_ctx)],
    ) -> Principal:
        text = _text(token, "an access token or an API key")
        if looks_like_key(text):
            return await _key(ctx, get_limits(request), text, scope)
        return await _user(get_identity(request), ctx, get_limits(request), text)

    return with_either


def _text(given: Given, needed: str) -> str:
    if given is None or not given.credentials:
        raise Unauthenticated(f"Send {needed} as 'Authorization: Bearer ...'.")
    return given.credentials


async def _user(identity: Identity, ctx: Ctx, limits: Limits, text: str) -> Principal:
    if looks_like_key(text):
        raise Unauthenticated(
            "This route takes an access token, not an API key; log in with POST /auth/login.",
            code="wrong_credential",
        )
    user_id = identity.tokens.read(text)
    await limits.from_user(user_id)
    async with ctx.db.begin() as tx:
        user = await store.user_by_id(tx, user_id)
    if user is None or user.disabled_at is not None:
        raise Unauthenticated("This user may not log in any more.", code="token_invalid")
    return Principal(
        account_id=user.account_id,
        user_id=user.id,
        key_id=None,
        roles=frozenset(user.roles),
        scopes=ALL_SCOPES,
    )


async def _key(ctx: Ctx, limits: Limits, text: str, scope: str) -> Principal:
    if not looks_like_key(text) and looks_like_access_token(text):
        raise Unauthenticated(
            "This route takes an API key, not an access token; make a key with POST /api/v1/keys.",
            code="wrong_credential",
        )
    now = ctx.clock.now()
    async with ctx.db.begin() as tx:
        facts = await store.key_facts(tx, digest_of(text))
        principal = admit_key(facts, scope, now)
        assert principal.key_id is not None, "admit_key names the key"
        await store.key_used(tx, principal.key_id, now)
    await limits.from_key(principal.key_id)
    return principal
