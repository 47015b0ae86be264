"""Statements: the ledger's own lines, which sum to the nano-dollar, as JSON and CSV."""

from __future__ import annotations

import csv
import io

import pytest

from brain.payouts import core
from tests.support.brain import signed_up
from tests.support.payouts import Provider

pytestmark = [pytest.mark.feature("H6"), pytest.mark.feature("C7")]


async def test_a_statement_closes_with_what_the_ledger_has(provider: Provider) -> None:
    await provider.paid_at()
    await provider.matured(55)
    made = await provider.call("POST", "/payouts", status=201)
    await provider.settled(made["payout_id"])
    await provider.matured(20)
    week = core.period_of(provider.clock.now(), core.Every.WEEK)
    found = await provider.call("GET", f"/statements/{week}")
    lines = {one["what"]: one["amount_nano"] for one in found["lines"]}
    assert lines == {"volumes": 75 * 10**9, "payout": -55 * 10**9}
    assert found["opening_nano"] + sum(lines.values()) == found["closing_nano"]
    assert found["closing_nano"] == (await provider.balances())[0]


async def test_a_period_opens_as_the_one_before_closed(provider: Provider) -> None:
    await provider.matured(55)
    month = core.period_of(provider.clock.now(), core.Every.MONTH)
    before = await provider.call("GET", f"/statements/{month}")
    provider.clock.advance(32 * 86_400)
    after = core.period_of(provider.clock.now(), core.Every.MONTH)
    opened = await provider.call("GET", f"/statements/{after}")
    assert opened["opening_usd"] == before["closing_usd"] == "55.00"
    assert opened["lines"] == []


async def test_the_same_as_csv(provider: Provider) -> None:
    await provider.matured(55)
    month = core.period_of(provider.clock.now(), core.Every.MONTH)
    await provider.call("GET", f"/statements/{month}")
    path = f"/api/v1/provider/statements/{month}?format=csv"
    answer = await provider.http.get(path, headers=provider.who.headers)
    assert answer.headers["content-type"].startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    told = [(row["what"], row["amount_usd"]) for row in rows]
    assert told == [("opening", "0.00"), ("volumes", "55.00"), ("closing", "55.00")]


async def test_what_is_no_period_is_refused(provider: Provider) -> None:
    for wrong in ("2026", "2026-13", "2026-W60", "2026-02-30", "0000-01", "x"):
        assert (await provider.call("GET", f"/statements/{wrong}", status=422))["param"] == "period"


async def test_another_providers_payouts_are_not_shown(provider: Provider) -> None:
    await provider.paid_at()
    await provider.matured(55)
    made = await provider.call("POST", "/payouts", status=201)
    other = await signed_up(provider.http)
    path = f"/api/v1/provider/payouts/{made['payout_id']}"
    assert (await provider.http.get(path, headers=other.headers)).status_code == 404
    listed = await provider.http.get("/api/v1/provider/payouts", headers=other.headers)
    assert listed.json()["items"] == []


async def test_a_wrong_destination_is_refused_with_what_to_do(provider: Provider) -> None:
    for body, said in (
        ({"method": "momo", "number": "256772123456", "currency": "USD"}, "momo pays in"),
        ({"method": "momo", "currency": "EUR"}, "number of the wallet"),
        ({"method": "momo", "number": "+1", "currency": "EUR"}, "number"),
        ({"method": "stripe"}, "does not pay by stripe"),
    ):
        answer = await provider.call("PUT", "/payout-destination", body, status=422)
        assert said in str(answer), answer
