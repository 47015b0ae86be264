"""Warnings: one a crossing, however often and by how many it is looked at; one a stop."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from sqlalchemy import text

from brain.billing import Grant, account_stopped, grant, stop_account
from brain.plumbing import Ctx
from brain.spending import WarnTerms, warn_due
from kernel.clock import ManualClock
from kernel.ids import AccountId
from tests.integration.brain.billing.stage import Stage
from tests.integration.brain.invoices.books import Books
from tests.support.brain import Somebody, signed_up

TERMS = WarnTerms(line_nano=5_000_000_000, grace_days=7)


@pytest.fixture
def books(ctx: Ctx, clock: ManualClock) -> Books:
    return Books(Stage(ctx, clock))


async def pay(ctx: Ctx, user: Somebody, dollars: int, key: str) -> None:
    account = AccountId(user.account_id)
    await grant(ctx, Grant(account, "purchase", "card", key, credits=dollars * 10_000))


async def letters(ctx: Ctx) -> list[tuple[str, str]]:
    async with ctx.db.begin() as tx:
        rows = await tx.execute(
            text("SELECT payload->>'to', payload->>'subject' FROM outbox ORDER BY created_at, id")
        )
    return [(row[0], row[1]) for row in rows]


@pytest.mark.feature("G6")
async def test_one_warning_a_crossing(brain: httpx.AsyncClient, books: Books) -> None:
    ctx, user = books.ctx, await signed_up(brain)
    account = AccountId(user.account_id)
    await pay(ctx, user, 10, "a")
    await warn_due(ctx, TERMS)
    assert await letters(ctx) == []
    for hours in (40, 1, 1):
        await books.volume(account, 1000, hours)
        await asyncio.gather(*(warn_due(ctx, TERMS) for _ in range(4)))
    assert await letters(ctx) == [(user.email, "Your credit is below $5.00")]
    await pay(ctx, user, 20, "b")
    await warn_due(ctx, TERMS)
    await books.volume(account, 1000, 145)
    await warn_due(ctx, TERMS)
    assert len(await letters(ctx)) == 2


@pytest.mark.feature("G6")
async def test_the_owner_is_told_of_a_stop_once(brain: httpx.AsyncClient, books: Books) -> None:
    ctx, user = books.ctx, await signed_up(brain)
    await pay(ctx, user, 10, "a")
    await warn_due(ctx, TERMS)
    await books.volume(AccountId(user.account_id), 1000, 100)
    for _ in range(3):
        await warn_due(ctx, TERMS)
    assert [subject for _, subject in await letters(ctx)] == [
        "Your deployments and pods are stopped"
    ]


@pytest.mark.feature("G6")
async def test_a_stop_that_was_lifted_before_anybody_looked_is_told_as_well(
    brain: httpx.AsyncClient, books: Books
) -> None:
    ctx, user = books.ctx, await signed_up(brain)
    account = AccountId(user.account_id)
    await pay(ctx, user, 10, "a")
    await warn_due(ctx, TERMS)
    async with ctx.db.begin() as tx:
        await stop_account(tx, ctx, account, "its credit does not cover the next minute")
    await pay(ctx, user, 10, "b")
    async with ctx.db.begin() as tx:
        assert not await account_stopped(tx, account)
    for _ in range(3):
        await warn_due(ctx, TERMS)
    assert [subject for _, subject in await letters(ctx)] == [
        "Your deployments and pods are stopped"
    ]


@pytest.mark.feature("G6")
async def test_a_new_line_is_judged_by_itself(brain: httpx.AsyncClient, books: Books) -> None:
    ctx, user = books.ctx, await signed_up(brain)
    await pay(ctx, user, 3, "a")
    await warn_due(ctx, TERMS)  # below the installation's line from the beginning
    lower = {"threshold_nano": 2_000_000_000}
    made = await brain.put("/api/v1/billing/alerts", json=lower, headers=user.headers)
    assert made.json()["below"] is False
    await books.volume(AccountId(user.account_id), 1000, 10)
    await warn_due(ctx, TERMS)
    assert await letters(ctx) == [(user.email, "Your credit is below $2.00")]


@pytest.mark.feature("G6")
async def test_an_account_has_a_line_and_an_address_of_its_own(
    brain: httpx.AsyncClient, books: Books
) -> None:
    user, place = await signed_up(brain), "/api/v1/billing/alerts"
    await pay(books.ctx, user, 10, "a")
    await warn_due(books.ctx, TERMS)
    body = {"threshold_nano": 9_500_000_000, "email": "money@example.com"}
    made = await brain.put(place, json=body, headers=user.headers)
    assert made.json() == {**body, "below": False}
    await books.volume(AccountId(user.account_id), 1000, 5)
    await warn_due(books.ctx, TERMS)
    assert await letters(books.ctx) == [("money@example.com", "Your credit is below $9.50")]


@pytest.mark.feature("G6")
async def test_who_wants_none_is_not_warned(brain: httpx.AsyncClient, books: Books) -> None:
    user = await signed_up(brain)
    await pay(books.ctx, user, 10, "a")
    await warn_due(books.ctx, TERMS)
    none = {"threshold_nano": 0}
    await brain.put("/api/v1/billing/alerts", json=none, headers=user.headers)
    await books.volume(AccountId(user.account_id), 1000, 60)
    await warn_due(books.ctx, TERMS)
    assert await letters(books.ctx) == []
