"""The brain's API in this process: ``brain`` is an HTTP client over the real app and database."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from brain.app import create_app
from brain.identity import Passwords, ensure_admin
from brain.plumbing import Ctx
from brain.settings import Settings

PASSWORD = "a long enough password"
GATEWAY_TOKEN = "gateway-token-of-the-tests-0123456789"


@dataclass(frozen=True)
class Somebody:
    """A registered user, logged in."""

    email: str
    token: str
    account_id: str

    @property
    def headers(self) -> dict[str, str]:
        return {"authorization": f"Bearer {self.token}"}


def settings_for_tests(database_url: str, **changed: Any) -> Settings:
    """Complete settings; ``changed`` replaces some by their field names."""
    values: dict[str, Any] = {
        "database_url": database_url,
        "redis_url": "redis://127.0.0.1:1/0",
        "jwt_secret_key": secrets.token_urlsafe(64),
        "master_key": secrets.token_hex(32),
        "gateway_token": GATEWAY_TOKEN,
        "installation_id": "tests",
        "minimum_credits_for_api_key": 0,
        "api_rate_limit": 1_000_000,
        "api_requests_per_second": 1_000_000,
        "auth_requests_per_second": 1_000_000,
        **changed,
    }
    return Settings(**values)


def quick_passwords() -> Passwords:
    """Passwords in tests need no strength; their real cost would make every test slow."""
    return Passwords(time_cost=1, memory_kib=8)


@asynccontextmanager
async def running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of ``app`` with its start and stop run. Unexpected errors come as 500, as live."""
    transport = httpx.ASGITransport(app=app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://brain", timeout=30) as client,
    ):
        yield client


@pytest.fixture
def settings(database_url: str) -> Settings:
    return settings_for_tests(database_url)


@pytest.fixture
def app(settings: Settings, ctx: Ctx) -> FastAPI:
    return create_app(settings, ctx=ctx, passwords=quick_passwords())


@pytest.fixture
async def brain(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """The management API over ``ctx`` (manual clock, seeded ids). No credit gate on keys."""
    async with running(app) as client:
        yield client


async def signed_up(client: httpx.AsyncClient, email: str | None = None) -> Somebody:
    """Register a new user and log in."""
    address = email or f"{secrets.token_hex(6)}@example.com"
    body = {"email": address, "password": PASSWORD}
    made = await client.post("/auth/register", json=body)
    assert made.status_code == 201, made.text
    return await logged_in(client, address, made.json()["account_id"])


async def logged_in(client: httpx.AsyncClient, email: str, account_id: str) -> Somebody:
    answer = await client.post("/auth/login", json={"email": email, "password": PASSWORD})
    assert answer.status_code == 200, answer.text
    return Somebody(email=email, token=answer.json()["access_token"], account_id=account_id)


async def admin(client: httpx.AsyncClient, ctx: Ctx, email: str = "root@example.com") -> Somebody:
    """A logged-in administrator."""
    made = await ensure_admin(ctx, email, PASSWORD, passwords=quick_passwords())
    return await logged_in(client, email, str(made.account_id))


async def api_key(client: httpx.AsyncClient, who: Somebody, *scopes: str) -> str:
    """The secret of a new API key of ``who``; all scopes where none is named."""
    body = {"name": "test", "scopes": list(scopes or ("inference", "read", "write", "admin"))}
    made = await client.post("/api/v1/keys", json=body, headers=who.headers)
    assert made.status_code == 201, made.text
    return str(made.json()["key"])
