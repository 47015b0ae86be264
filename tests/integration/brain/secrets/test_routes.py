"""Secrets over HTTP: values go in and never come out."""

from __future__ import annotations

import httpx
import pytest
from sqlalchemy import text

from brain.plumbing import Ctx
from brain.secrets.core import SECRETS_MAX, VALUE_BYTES_MAX
from tests.support.brain import Somebody, api_key, signed_up

URL = "/api/v1/secrets"
CANARY = "canary-7d1f0c55-of-a-secret"
pytestmark = pytest.mark.feature("E1")


@pytest.fixture
async def who(brain: httpx.AsyncClient) -> Somebody:
    return await signed_up(brain)


async def put(
    brain: httpx.AsyncClient, who: Somebody, name: str, value: object = CANARY
) -> httpx.Response:
    return await brain.put(f"{URL}/{name}", json={"value": value}, headers=who.headers)


async def test_a_secret_is_set_replaced_listed_and_forgotten(
    brain: httpx.AsyncClient, who: Somebody
) -> None:
    made = await put(brain, who, "HF_TOKEN")
    again = await put(brain, who, "HF_TOKEN", "another value")
    assert (made.status_code, again.status_code) == (200, 200)
    assert set(again.json()) == {"name", "created_at", "changed_at"}
    listed = (await brain.get(URL, headers=who.headers)).json()["items"]
    assert [one["name"] for one in listed] == ["HF_TOKEN"]
    assert (await brain.delete(f"{URL}/HF_TOKEN", headers=who.headers)).status_code == 204
    assert (await brain.delete(f"{URL}/HF_TOKEN", headers=who.headers)).status_code == 404


async def test_the_list_is_paged_by_name(brain: httpx.AsyncClient, who: Somebody) -> None:
    for name in ("C", "A", "B"):
        await put(brain, who, name)
    first = (await brain.get(f"{URL}?limit=2", headers=who.headers)).json()
    rest = (await brain.get(f"{URL}?cursor={first['next']}", headers=who.headers)).json()
    names = [one["name"] for one in [*first["items"], *rest["items"]]]
    assert (names, rest["next"]) == (["A", "B", "C"], None)


async def test_each_account_has_its_own(brain: httpx.AsyncClient, who: Somebody) -> None:
    await put(brain, who, "HF_TOKEN")
    other = await signed_up(brain)
    assert (await brain.get(URL, headers=other.headers)).json()["items"] == []
    assert (await brain.delete(f"{URL}/HF_TOKEN", headers=other.headers)).status_code == 404


@pytest.mark.parametrize("name", ["1A", "A-B", "LD_PRELOAD", "PATH", "A" * 65, "%00"])
async def test_a_bad_name_is_refused(brain: httpx.AsyncClient, who: Somebody, name: str) -> None:
    refused = await put(brain, who, name)
    assert refused.status_code == 422
    assert CANARY not in refused.text


@pytest.mark.parametrize(
    "value", ["", "a\0" + CANARY, 7, [CANARY], CANARY * (VALUE_BYTES_MAX // 8)]
)
async def test_a_bad_value_is_refused_and_not_quoted(
    brain: httpx.AsyncClient, who: Somebody, value: object, capfd: pytest.CaptureFixture[str]
) -> None:
    refused = await put(brain, who, "TOKEN", value)
    assert refused.status_code == 422
    said = capfd.readouterr()
    assert CANARY not in refused.text + said.out + said.err


async def test_a_key_needs_the_scope_to_write(brain: httpx.AsyncClient, who: Somebody) -> None:
    reader = {"authorization": f"Bearer {await api_key(brain, who, 'read')}"}
    answer = await brain.put(f"{URL}/A", json={"value": "x"}, headers=reader)
    assert answer.status_code == 403
    assert (await brain.get(URL, headers=reader)).status_code == 200


async def test_an_account_has_so_many_secrets_at_most(
    brain: httpx.AsyncClient, who: Somebody, ctx: Ctx
) -> None:
    async with ctx.db.begin() as tx:
        await tx.execute(
            text(
                "INSERT INTO account_secret SELECT 'sec_' || n, :account, 'S' || n, '',"
                " now(), now()"
                " FROM generate_series(1, :most) n"
            ),
            {"account": who.account_id, "most": SECRETS_MAX},
        )
    assert (await put(brain, who, "ONE_MORE")).status_code == 429
    assert (await put(brain, who, "S1")).status_code == 200


async def test_each_change_is_in_the_audit_log_without_the_value(
    brain: httpx.AsyncClient, who: Somebody, ctx: Ctx
) -> None:
    await put(brain, who, "HF_TOKEN")
    await brain.delete(f"{URL}/HF_TOKEN", headers=who.headers)
    async with ctx.db.begin() as tx:
        rows = (
            await tx.execute(
                text("SELECT action, detail FROM audit WHERE action LIKE 'secret.%' ORDER BY seq")
            )
        ).all()
    assert [row.action for row in rows] == ["secret.set", "secret.delete"]
    assert all(row.detail == {"name": "HF_TOKEN"} for row in rows)
