"""Nodes that sign less, more, twice or nothing: what is kept, what goes back, and the books."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import text

from brain import billing, fleet
from brain.billing import Grant, grant, prove, settle_due
from brain.billing.service.receipts import lease_receipt
from brain.billing.store import journal
from brain.fleet import Claim
from brain.plumbing import Ctx, Killed
from brain.witness import judge_due
from brain.witness import routes as witness_routes
from kernel.clock import NS, ManualClock
from kernel.ids import AccountId, DeploymentId, ReplicaId
from kernel.receipt import recompute
from kernel.wire import encode
from kernel.wire.agent import LeaseSeenState
from kernel.wire.minutes import Minute, MinuteAnswer, MinuteBatch
from node_agent.minutes import Book, Signer, look
from tests.support.fleet import LAUNCH, Agent, Rig, brain_front

PRICE = 3_600_000_000_000  # $3,600 per GPU-hour: a dollar a GPU-second
POLICY = billing.MeterPolicy(installation_id="test")


@pytest.fixture
async def rig(ctx: Ctx, clock: ManualClock, valkey_url: str) -> AsyncIterator[Rig]:
    async with brain_front(ctx, clock, valkey_url) as made:
        made.app.include_router(witness_routes.router)
        yield made


class Tenancy:
    """One rented GPU, its tenant, and the node's own count of it."""

    def __init__(self, rig: Rig, agent: Agent, lease: fleet.LeaseView, payer: AccountId) -> None:
        self.rig, self.agent, self.lease, self.payer = rig, agent, lease, payer
        self.book = Book("boot-1")

    @property
    def signer(self) -> Signer:
        return Signer(str(self.agent.node_id), self.agent.key.sign)

    async def work(self, seconds: int, *, counted: bool = True) -> None:
        """Beat every ten seconds; what the node counts of it is what it will sign for."""
        for _ in range(seconds // 10):
            if counted:
                self._look(1)
            await self.rig.pass_time(10, self.agent)
            if counted:
                self._look(1)

    def _look(self, gpus: int) -> None:
        now_ns = self.rig.clock.monotonic_ns()
        working = {str(self.lease.lease_id): (self.lease.epoch, gpus)} if gpus else {}
        self.book = look(self.book, working, self.signer, now_ns)

    async def send(self, records: list[Minute]) -> MinuteAnswer:
        answer = await self.agent.send("/agent/v1/minutes", encode(MinuteBatch(records)))
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=MinuteAnswer)

    async def end(self) -> list[Minute]:
        """The work is gone, the lease closed and its bill final; what the node sealed of it."""
        self._look(0)
        await self.rig.stop_lease(self.lease.lease_id)
        await self.agent.beat(self.agent.seen(self.lease, LeaseSeenState.GONE))
        await self.rig.front.flush()
        self.rig.clock.advance(1)
        await settle_due(self.rig.ctx, POLICY)
        return self.book.sealed

    async def receipt(self) -> dict[str, Any]:
        return await lease_receipt(self.rig.ctx, self.payer, self.lease.lease_id)


@pytest.fixture
async def tenancy(rig: Rig) -> Tenancy:
    return await rent(rig)


async def rent(rig: Rig) -> Tenancy:
    agent = await rig.agent()
    async with rig.ctx.db.begin() as tx:
        await tx.execute(text("UPDATE node SET price_nano = :price"), {"price": PRICE})
    payer = rig.ctx.ids.new(AccountId)
    key = f"money of {payer}"
    await grant(rig.ctx, Grant(payer, "purchase", "test", key, credits=100_000_000))
    wanted = Claim(
        replica_id=rig.ctx.ids.new(ReplicaId),
        deployment_id=rig.ctx.ids.new(DeploymentId),
        node_id=agent.node_id,
        gpu_count=1,
        launch=LAUNCH,
        payer=payer,
        mode="dedicated",
    )
    async with rig.ctx.db.begin() as tx:
        lease = await fleet.claim(tx, wanted, now_ns=rig.clock.now_ns(), ids=rig.ctx.ids)
    await rig.front.look()
    await agent.beat(agent.seen(lease, LeaseSeenState.READY))
    return Tenancy(rig, agent, lease, payer)


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
