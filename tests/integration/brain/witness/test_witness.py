"""Nodes that sign less, more, twice or nothing: what is kept, what goes back, and the books."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from brain import billing
from brain.billing import prove
from brain.billing.store import journal
from brain.plumbing import Ctx, Killed
from brain.witness import judge_due
from brain.witness import routes as witness_routes
from kernel.clock import NS, ManualClock
from kernel.receipt import recompute
from kernel.wire import encode
from kernel.wire.minutes import MinuteAnswer, MinuteBatch
from node_agent.minutes import look
from tests.support.fleet import Rig, brain_front
from tests.support.tenancy import Tenancy, rent

PRICE = 3_600_000_000_000  # $3,600 per GPU-hour: a dollar a GPU-second
POLICY = billing.MeterPolicy(installation_id="test")


@pytest.fixture
async def rig(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url) as made:
        made.app.include_router(witness_routes.router)
        yield made


@pytest.fixture
async def tenancy(rig: Rig) -> Tenancy:
    return await rent(rig)


async def books_hold(ctx: Ctx) -> None:
    assert [proof for proof in await prove(ctx) if not proof.holds] == []


async def disputes(ctx: Ctx) -> list[tuple[str, int]]:
    async with ctx.db.begin() as tx:
        rows = await tx.execute(text("SELECT kind, credit_nano FROM dispute"))
        return [(row.kind, row.credit_nano) for row in rows]


@pytest.mark.feature("G2")
async def test_a_node_that_signs_for_all_of_it_is_paid_for_all(tenancy: Tenancy) -> None:
    await tenancy.work(200)
    records = await tenancy.end()
    assert (await tenancy.send(records)).kept == {str(tenancy.lease.lease_id): len(records)}
    assert await judge_due(tenancy.rig.ctx, wait_seconds=0) == 0
    assert await disputes(tenancy.rig.ctx) == []
    assert (await tenancy.receipt())["credit"] is None
    await books_hold(tenancy.rig.ctx)


@pytest.mark.feature("G2")
async def test_what_a_lying_node_did_not_sign_for_goes_back(tenancy: Tenancy) -> None:
    """It said "ready" for 200 s and worked for half of them."""
    ctx = tenancy.rig.ctx
    await tenancy.work(100)
    tenancy._look(0)
    await tenancy.work(100, counted=False)
    await tenancy.send(await tenancy.end())
    assert await judge_due(ctx, wait_seconds=0) == 1
    ((kind, credit),) = await disputes(ctx)
    shown = await tenancy.receipt()
    billed_ns = sum(bill["until_ns"] - bill["from_ns"] for bill in shown["bills"])
    assert kind == "less_signed"
    assert shown["credit"]["gpu_ns"] == billed_ns - 100 * NS
    assert credit == shown["credit"]["credit_nano"] == billed_ns - 100 * NS  # a dollar a second
    assert recompute(shown).ok
    assert any("went back" in sentence for sentence in shown["explanation"])
    await books_hold(ctx)
    assert await judge_due(ctx, wait_seconds=0) == 0
    forged = json.loads(json.dumps(shown))
    forged["credit"]["credit_nano"] -= 1
    assert not recompute(forged).ok


async def test_a_node_that_signs_nothing_earns_nothing(tenancy: Tenancy) -> None:
    ctx = tenancy.rig.ctx
    await tenancy.work(120, counted=False)
    await tenancy.end()
    assert await judge_due(ctx, wait_seconds=3600) == 0  # it may still come
    assert await judge_due(ctx, wait_seconds=0) == 1
    shown = await tenancy.receipt()
    assert shown["credit"]["credit_nano"] == shown["billed_nano"] > 0
    assert shown["credit"]["taken_back_nano"] == shown["earned_nano"]
    async with ctx.db.begin() as tx:
        found = await journal.balances(tx, [f"{tenancy.rig.account}:pending"])
    assert found[f"{tenancy.rig.account}:pending"].posted == 0
    await books_hold(ctx)


class FailsOnce:
    """Marks, the first of which is never passed."""

    failed = False

    async def reach(self, name: str) -> None:
        if name == "witness.credited" and not self.failed:
            self.failed = True
            raise ArithmeticError(name)


async def test_a_lease_that_cannot_be_judged_stops_no_other(rig: Rig) -> None:
    for _ in range(2):
        one = await rent(rig)
        await one.work(120, counted=False)
        await one.end()
    with pytest.raises(ExceptionGroup) as caught:
        await judge_due(replace(rig.ctx, points=FailsOnce()), wait_seconds=0)
    assert len(caught.value.exceptions) == 1
    assert len(await disputes(rig.ctx)) == 1
    assert await judge_due(rig.ctx, wait_seconds=0) == 1
    await books_hold(rig.ctx)


@pytest.mark.feature("G2")
async def test_records_count_once_in_any_number_of_batches(tenancy: Tenancy) -> None:
    await tenancy.work(200)
    records = await tenancy.end()
    assert len(records) >= 3
    own = str(tenancy.lease.lease_id)
    assert (await tenancy.send(records[:2])).kept == {own: 2}
    assert (await tenancy.send(records[:2])).kept == {own: 2}
    assert (await tenancy.send(records[1:])).kept == {own: len(records)}
    assert await judge_due(tenancy.rig.ctx, wait_seconds=0) == 0
    assert (await tenancy.send(records)).refused == {own: "the lease is settled"}


async def test_what_was_signed_twice_differently_breaks_the_chain(tenancy: Tenancy) -> None:
    await tenancy.work(100)
    first = tenancy.book
    records = await tenancy.end()
    await tenancy.send(records)
    other = look(first, {}, tenancy.signer, tenancy.rig.clock.monotonic_ns() + 1)
    answer = await tenancy.send(other.sealed)
    assert "signed twice, differently" in answer.refused[str(tenancy.lease.lease_id)]
    assert await judge_due(tenancy.rig.ctx, wait_seconds=0) == 1
    assert [kind for kind, _ in await disputes(tenancy.rig.ctx)] == ["chain_broken"]


async def test_another_key_signs_nothing(tenancy: Tenancy) -> None:
    await tenancy.work(100)
    await tenancy.end()
    stranger = Ed25519PrivateKey.generate()
    forged = [
        msgspec.structs.replace(record, signature=stranger.sign(b"x").hex())
        for record in tenancy.book.sealed
    ]
    refused = (await tenancy.send(forged)).refused
    assert "signature" in refused[str(tenancy.lease.lease_id)]


async def test_another_nodes_lease_is_nobodys_to_sign_for(tenancy: Tenancy) -> None:
    await tenancy.work(100)
    records = await tenancy.end()
    other = await tenancy.rig.agent()
    answer = await other.send("/agent/v1/minutes", encode(MinuteBatch(records)))
    told = msgspec.json.decode(answer.content, type=MinuteAnswer)
    assert told.refused == {str(tenancy.lease.lease_id): "it is no lease of this node"}


async def test_two_judges_at_once_credit_once(tenancy: Tenancy) -> None:
    await tenancy.work(120, counted=False)
    await tenancy.end()
    ctx = tenancy.rig.ctx
    found = await asyncio.gather(*(judge_due(ctx, wait_seconds=0) for _ in range(4)))
    assert sum(found) == 1
    assert len(await disputes(ctx)) == 1
    await books_hold(ctx)


async def test_a_judge_that_dies_half_way_leaves_nothing(tenancy: Tenancy) -> None:
    await tenancy.work(120, counted=False)
    await tenancy.end()
    ctx = tenancy.rig.ctx
    with pytest.raises(Killed):
        await judge_due(replace(ctx, points=DiesAt("witness.credited")), wait_seconds=0)
    assert await disputes(ctx) == []
    assert await judge_due(ctx, wait_seconds=0) == 1
    await books_hold(ctx)


class DiesAt:
    """The process dies at one mark."""

    def __init__(self, name: str) -> None:
        self._name = name

    async def reach(self, name: str) -> None:
        if name == self._name:
            raise Killed
