"""Bad requests meet one clear problem each, whatever they are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from brain.plumbing import Ctx
from tests.support.brain import signed_up

LOGIN = "/auth/login"
JSON = {"content-type": "application/json"}


def _problem(answer: httpx.Response, status: int, code: str) -> str:
    """The problem's sentence, after its shape was checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:ganglion:problem:{code}"
    assert body["request_id"] == answer.headers["x-request-id"]
    return str(body["detail"])


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"{", 400, "malformed"),
        (b"\xff\xfe", 400, "malformed"),
        (b'{"email": ' + b"[" * 100_000, 400, "malformed"),
        (b'{"email": ' + b"9" * 100_000 + b"}", 400, "malformed"),
        (b"", 422, "bad_input"),
        (b"[]", 422, "bad_input"),
        (b"null", 422, "bad_input"),
        (b'"text"', 422, "bad_input"),
        (b"{}", 422, "bad_input"),
        (b'{"email": NaN, "password": 1}', 422, "bad_input"),
        (b'{"email": "\\ud800", "password": "x"}', 422, "bad_input"),
        (b'{"email": "a", "password": "x", "\\ud800": 1}', 422, "bad_input"),
        (b'{"email": "a\\u0000b", "password": "x"}', 422, "bad_input"),
        (b'{"email": "a", "password": "' + b"x" * 201 + b'"}', 422, "bad_input"),
    ],
)
async def test_a_body_that_is_not_what_is_asked(
    brain: httpx.AsyncClient, content: bytes, status: int, code: str
) -> None:
    assert _problem(await brain.post(LOGIN, content=content, headers=JSON), status, code)


async def test_a_body_of_another_content_type(brain: httpx.AsyncClient) -> None:
    answer = await brain.post(LOGIN, data={"email": "a", "password": "b"})
    assert "application/json" in _problem(answer, 422, "bad_input")


async def test_an_unknown_field_is_named_and_values_are_not_shown(
    brain: httpx.AsyncClient,
) -> None:
    body = {"email": "a", "password": "s3cret-value" * 50, "colour": "s3cret-value"}
    answer = await brain.post(LOGIN, json=body)
    assert _problem(answer, 422, "bad_input")
    assert {one["field"] for one in answer.json()["errors"]} == {"password", "colour"}
    assert "s3cret" not in answer.text


async def _chunks(count: int) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * 65_536


async def test_a_body_over_the_limit(brain: httpx.AsyncClient) -> None:
    whole = await brain.post(LOGIN, content=b"x" * (1_048_577), headers=JSON)
    assert "1 MiB" in _problem(whole, 413, "too_large")
    chunked = await brain.post(LOGIN, content=_chunks(17), headers=JSON)
    assert "1 MiB" in _problem(chunked, 413, "too_large")


async def test_a_body_at_the_limit_is_read(brain: httpx.AsyncClient) -> None:
    assert _problem(await brain.post(LOGIN, content=_chunks(16), headers=JSON), 400, "malformed")


@pytest.mark.parametrize("length", ["-1", "abc", "1e3", "9" * 30, "٣"])
async def test_a_length_that_is_no_length(brain: httpx.AsyncClient, length: str) -> None:
    headers = {**JSON, "content-length": length.encode()}
    answer = await brain.post(LOGIN, content=_chunks(1), headers=headers)
    assert answer.status_code in {400, 413}


async def test_paths_and_methods_that_are_not_there(brain: httpx.AsyncClient) -> None:
    for path in ("/nope", "/auth/login/", "/auth//login", "/%00", "/\u2603", "/docs/files/../x"):
        assert _problem(await brain.get(path), 404, "not_found")
    answer = await brain.put(LOGIN)
    assert "use POST" in _problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "POST"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=ten", "limit"),
        ("cursor=zzz", "cursor"),
        ("cursor=" + "a" * 501, "cursor"),
        ("cursor=WyJhIiwiYiJd", "cursor"),
        ("cursor=WyJhXHUwMDAwIl0", "cursor"),
    ],
)
async def test_bad_page_questions(brain: httpx.AsyncClient, query: str, field: str) -> None:
    who = await signed_up(brain)
    answer = await brain.get(f"/api/v1/keys?{query}", headers=who.headers)
    assert _problem(answer, 422, "bad_input")
    assert answer.json()["param"] == field


async def test_a_cursor_that_holds_no_id(brain: httpx.AsyncClient) -> None:
    who = await signed_up(brain)
    answer = await brain.get("/api/v1/keys?cursor=WyJhIl0", headers=who.headers)
    assert _problem(answer, 422, "bad_input")


@pytest.mark.parametrize("key_id", ["x", "key_1", "node_" + "0" * 32, "key_" + "0" * 31 + "g"])
async def test_an_id_of_another_kind(brain: httpx.AsyncClient, key_id: str) -> None:
    who = await signed_up(brain)
    answer = await brain.delete(f"/api/v1/keys/{key_id}", headers=who.headers)
    assert "key_<32 hex digits>" in _problem(answer, 422, "bad_input")


async def test_an_id_that_is_nobodys(brain: httpx.AsyncClient) -> None:
    who = await signed_up(brain)
    answer = await brain.delete(f"/api/v1/keys/key_{'0' * 32}", headers=who.headers)
    assert _problem(answer, 404, "not_found")


async def test_our_own_mistake_is_a_500_with_an_id_and_no_story(
    app: FastAPI, brain: httpx.AsyncClient
) -> None:
    async def broken() -> None:
        raise RuntimeError("a private story")

    app.add_api_route("/broken", broken)
    answer = await brain.get("/broken")
    assert _problem(answer, 500, "internal_error")
    assert "private" not in answer.text


async def test_a_database_that_is_away_is_a_503(
    app: FastAPI, brain: httpx.AsyncClient, ctx: Ctx
) -> None:
    async def killed() -> None:
        async with ctx.db.begin() as tx:
            await tx.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))

    app.add_api_route("/killed", killed)
    answer = await brain.get("/killed")
    assert _problem(answer, 503, "unavailable")
    assert answer.headers["retry-after"] == "2"
