"""What every answer carries, and what a stranger meets first."""

from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from brain import health
from brain.app import create_app
from brain.plumbing import Ctx
from tests.support.brain import running, settings_for_tests


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """A part that a busy machine keeps waiting is not one that is away."""
    monkeypatch.setattr(health, "CHECK_SECONDS_MAX", 30.0)


@pytest.mark.feature("A9")
async def test_every_answer_has_an_id_and_security_headers(brain: httpx.AsyncClient) -> None:
    for path in ("/", "/nope", "/docs", "/health/live", "/docs/files/swagger-ui.css"):
        headers = (await brain.get(path)).headers
        assert headers["x-request-id"].startswith("req_")
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "default-src" in headers["content-security-policy"]


async def test_a_callers_own_request_id_is_kept_when_harmless(brain: httpx.AsyncClient) -> None:
    for given, kept in (("abc-123", True), ("a b", False), ("x" * 65, False), ("<b>", False)):
        answer = await brain.get("/health/live", headers={"x-request-id": given})
        assert (answer.headers["x-request-id"] == given) == kept


async def test_the_first_page_says_what_this_is(brain: httpx.AsyncClient) -> None:
    told = (await brain.get("/")).json()
    assert (told["name"], told["docs"]) == ("Ganglion", "/docs")
    page = await brain.get("/", headers={"accept": "text/html"})
    assert 'href="/docs"' in page.text


async def test_the_documentation_needs_nothing_from_outside(brain: httpx.AsyncClient) -> None:
    page = (await brain.get("/docs")).text
    assert "http" not in page.replace("https://", "http://").split("<body>")[1]
    for path in ("/docs/start.js", "/docs/files/swagger-ui-bundle.js", "/openapi.json"):
        assert (await brain.get(path)).status_code == 200


async def test_openapi_names_every_route_its_credential_and_its_problem(
    brain: httpx.AsyncClient,
) -> None:
    document = (await brain.get("/openapi.json")).json()
    assert "HTTPValidationError" not in str(document)
    keys = document["paths"]["/api/v1/keys"]["post"]
    assert keys["security"] == [{"accessToken": []}]
    assert "application/problem+json" in keys["responses"]["default"]["content"]
    operations = [op for path in document["paths"].values() for op in path.values()]
    assert all(operation.get("description") for operation in operations)


@pytest.mark.feature("O4")
@pytest.mark.usefixtures("unhurried")
async def test_health_names_each_dependency(brain: httpx.AsyncClient) -> None:
    assert (await brain.get("/health/live")).json() == {"status": "ok"}
    told = (await brain.get("/health/dependencies")).json()
    assert told["status"] == "degraded"
    assert {one["name"]: one["ok"] for one in told["dependencies"]} == {
        "database": True,
        "migrations": True,
        "valkey": False,
    }


@pytest.mark.feature("O4")
@pytest.mark.usefixtures("unhurried")
async def test_ready_with_every_part_there(ctx: Ctx, database_url: str, valkey_url: str) -> None:
    app = create_app(settings_for_tests(database_url, redis_url=valkey_url), ctx=ctx)
    async with running(app) as client:
        answer = await client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


@pytest.mark.feature("O4")
@pytest.mark.usefixtures("unhurried")
async def test_not_ready_while_migrations_are_pending(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    async with ctx.db.begin() as tx:
        await tx.execute(text("UPDATE alembic_version SET version_num = '0001'"))
    answer = await brain.get("/health/ready")
    assert answer.status_code == 503
    assert "revision 0001" in answer.text


@pytest.mark.feature("O4")
async def test_not_ready_without_a_database_and_no_address_is_told() -> None:
    url = "postgresql://me:s3cret@127.0.0.1:1/none"
    async with running(create_app(settings_for_tests(url))) as client:
        assert (await client.get("/health/live")).status_code == 200
        answer = await client.get("/health/ready")
    assert answer.status_code == 503
    assert "s3cret" not in answer.text


async def test_metrics_count_by_route_not_by_path(brain: httpx.AsyncClient) -> None:
    for path in ("/health/live", "/x1", "/x2"):
        await brain.get(path)
    told = (await brain.get("/metrics")).text
    assert 'route="/health/live",status="200"} 1.0' in told
    assert 'route="unmatched",status="404"} 2.0' in told


async def test_metrics_ask_for_their_token(ctx: Ctx, database_url: str) -> None:
    app: FastAPI = create_app(settings_for_tests(database_url, metrics_token="m" * 20), ctx=ctx)
    async with running(app) as client:
        assert (await client.get("/metrics")).status_code == 401
        headers = {"authorization": "Bearer " + "m" * 20}
        assert (await client.get("/metrics", headers=headers)).status_code == 200


async def test_only_named_origins_may_call(ctx: Ctx, database_url: str) -> None:
    settings = settings_for_tests(database_url, cors_origins="https://app.example.com")
    async with running(create_app(settings, ctx=ctx)) as client:
        for origin, allowed in (("https://app.example.com", True), ("https://evil.test", False)):
            answer = await client.get("/health/live", headers={"origin": origin})
            assert ("access-control-allow-origin" in answer.headers) == allowed
