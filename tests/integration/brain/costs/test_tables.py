"""Tables of costs and of charges by HTTP: whose they are, by what, and as CSV."""

from __future__ import annotations

import httpx
import pytest

from brain.billing import Grant, grant
from brain.costs import Recorder, Terms, record_due
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.ids import AccountId
from tests.integration.brain.billing.stage import PROVIDER, Stage
from tests.integration.brain.invoices.books import Books
from tests.support.brain import Somebody, signed_up
from tests.support.brain import admin as administrator

OWN, PLATFORM = "/api/v1/billing/costs", "/api/v1/admin/costs"


@pytest.fixture
async def user(brain: httpx.AsyncClient, ctx: Ctx, clock: ManualClock) -> Somebody:
    """Somebody who used a deployment, the pool and a volume."""
    somebody, books = await signed_up(brain), Books(Stage(ctx, clock))
    account = AccountId(somebody.account_id)
    await grant(ctx, Grant(account, "purchase", "card", "k", credits=500_000))
    await books.own(account, 600, provider=PROVIDER)
    await books.shared(account, 30)
    await books.volume(account, 100, 10)
    await record_due(ctx, Terms(Recorder(ctx, b"k" * 32)))
    return somebody


async def told(brain: httpx.AsyncClient, place: str, who: Somebody, **asked: str) -> dict[str, int]:
    answer = await brain.get(place, params=asked, headers=who.headers)
    assert answer.status_code == 200, answer.text
    field = "nano" if place == OWN else "cost_nano"
    return {line["name"]: line[field] for line in answer.json()["lines"]}


@pytest.mark.feature("L1", "G6")
async def test_charges_by_anything_sum_to_the_statement(
    brain: httpx.AsyncClient, ctx: Ctx, clock: ManualClock, user: Somebody
) -> None:
    used = await Books(Stage(ctx, clock)).sum_of_use(AccountId(user.account_id))
    for by in ("day", "deployment", "pod", "volume", "model", "kind"):
        assert sum((await told(brain, OWN, user, by=by)).values()) == used, by


@pytest.mark.feature("L1")
async def test_a_key_shows_what_it_used(brain: httpx.AsyncClient, user: Somebody) -> None:
    answer = await brain.get(OWN, params={"by": "key"}, headers=user.headers)
    [line] = answer.json()["lines"]
    assert (line["name"], line["requests"], line["gpu_seconds"]) == ("key_" + "1" * 32, 1, "30.000")
    assert line["nano"] == 30 * 10**6


@pytest.mark.feature("L1")
async def test_costs_by_anything_sum_to_the_same(
    brain: httpx.AsyncClient, ctx: Ctx, user: Somebody
) -> None:
    root = await administrator(brain, ctx)
    whole = sum((await told(brain, PLATFORM, root, by="provider")).values())
    assert whole > 0
    for by in ("day", "deployment", "pod", "volume", "kind", "model", "key", "account"):
        assert sum((await told(brain, PLATFORM, root, by=by)).values()) == whole, by


@pytest.mark.feature("L1")
async def test_what_is_left_of_a_charge_is_shown(
    brain: httpx.AsyncClient, ctx: Ctx, user: Somebody
) -> None:
    root = await administrator(brain, ctx)
    answer = await brain.get(PLATFORM, params={"by": "kind"}, headers=root.headers)
    lines = {line["name"]: line for line in answer.json()["lines"]}
    gpu = lines["gpu"]
    assert gpu["margin_nano"] == gpu["charged_nano"] - gpu["cost_nano"]
    assert gpu["charged_nano"] > gpu["cost_nano"] > 0
    assert lines["storage"]["charged_nano"] > 0


@pytest.mark.feature("L1")
async def test_tables_are_csv_as_well(brain: httpx.AsyncClient, ctx: Ctx, user: Somebody) -> None:
    root = await administrator(brain, ctx)
    own = await brain.get(f"{OWN}.csv", params={"by": "kind"}, headers=user.headers)
    ours = await brain.get(f"{PLATFORM}.csv", params={"by": "kind"}, headers=root.headers)
    assert own.text.splitlines()[0] == "kind,title,charged_usd,gpu_seconds"
    assert ours.text.splitlines()[0] == "kind,title,cost_usd,charged_usd,margin_usd"
    assert own.headers["content-type"] == "text/csv; charset=utf-8"


@pytest.mark.feature("L1")
async def test_a_user_sees_neither_our_costs_nor_anothers_charges(
    brain: httpx.AsyncClient, user: Somebody
) -> None:
    stranger = await signed_up(brain)
    assert (await brain.get(PLATFORM, headers=user.headers)).status_code == 403
    assert await told(brain, OWN, stranger) == {}
    refused = await brain.get(OWN, params={"by": "provider"}, headers=user.headers)
    assert (refused.status_code, refused.json()["param"]) == (422, "by")
    long = {"since": "2020-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}
    assert (await brain.get(OWN, params=long, headers=user.headers)).status_code == 422
