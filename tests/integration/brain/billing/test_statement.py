"""The statement over HTTP: kinds, times, pages, and the whole of it as CSV."""

from __future__ import annotations

import csv
from io import StringIO

import httpx
import pytest

from brain.billing import Grant, grant
from brain.billing.routes import account as account_routes
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.ids import AccountId
from tests.support.brain import Somebody, signed_up

PLACE = "/api/v1/billing/transactions"


@pytest.fixture
async def user(brain: httpx.AsyncClient, ctx: Ctx, clock: ManualClock) -> Somebody:
    """Somebody with a purchase, a promo, a grant, a purchase, a minute apart."""
    made = await signed_up(brain)
    account = AccountId(made.account_id)
    for number, kind in enumerate(("purchase", "promo", "admin", "purchase")):
        memo = f"=HYPERLINK({number})"
        await grant(ctx, Grant(account, kind, memo, f"{account}/{number}", credits=10))
        clock.advance(60)
    return made


async def kinds(brain: httpx.AsyncClient, user: Somebody, **asked: object) -> list[str]:
    got = await brain.get(PLACE, params=asked, headers=user.headers)  # type: ignore[arg-type]
    assert got.status_code == 200, got.text
    return [line["kind"] for line in got.json()["items"]]


@pytest.mark.feature("G4")
async def test_the_statement_is_filtered_by_kind(brain: httpx.AsyncClient, user: Somebody) -> None:
    assert await kinds(brain, user) == ["purchase", "admin", "promo", "purchase"]
    assert await kinds(brain, user, kind="purchase") == ["purchase", "purchase"]
    assert await kinds(brain, user, kind=["promo", "admin"]) == ["admin", "promo"]


@pytest.mark.feature("G4")
async def test_the_statement_is_filtered_by_time(brain: httpx.AsyncClient, user: Somebody) -> None:
    lines = (await brain.get(PLACE, headers=user.headers)).json()["items"]
    since, until = lines[2]["at"], lines[0]["at"]
    assert await kinds(brain, user, since=since, until=until) == ["admin", "promo"]
    wrong = {"since": until, "until": since}
    assert (await brain.get(PLACE, params=wrong, headers=user.headers)).status_code == 422


@pytest.mark.feature("G4")
async def test_pages_go_on_under_a_filter(brain: httpx.AsyncClient, user: Somebody) -> None:
    found, cursor = [], ""
    while True:
        asked = {"kind": "purchase", "limit": 1, **({"cursor": cursor} if cursor else {})}
        page = (await brain.get(PLACE, params=asked, headers=user.headers)).json()
        found += [line["transaction_id"] for line in page["items"]]
        cursor = page["next"]
        if cursor is None:
            break
    assert len(found) == len(set(found)) == 2


@pytest.mark.feature("G4")
async def test_the_csv_holds_all_and_runs_nothing(
    brain: httpx.AsyncClient, user: Somebody, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(account_routes, "CSV_LINES_AT_ONCE", 3)
    got = await brain.get(PLACE + ".csv", headers=user.headers)
    assert got.headers["content-type"] == "text/csv; charset=utf-8"
    rows = list(csv.DictReader(StringIO(got.text)))
    assert [row["memo"] for row in rows] == [f"'=HYPERLINK({n})" for n in (3, 2, 1, 0)]
    assert {row["amount_usd"] for row in rows} == {"0.001000000"}


@pytest.mark.feature("G4")
async def test_the_csv_of_another_account_is_its_own(
    brain: httpx.AsyncClient, user: Somebody
) -> None:
    other = await signed_up(brain)
    got = await brain.get(PLACE + ".csv", headers=other.headers)
    assert len(got.text.splitlines()) == 1 < len(await kinds(brain, user))
