"""Proofs: tampering with the journal shows, a broken identity is an alarm until it holds again."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from brain.billing import (
    Asset,
    Entry,
    Grant,
    Posting,
    Proof,
    grant,
    post,
    proof_states,
    prove,
    prove_due,
    reverse,
)
from brain.billing.service.proofs import seal
from brain.plumbing import Ctx, Tx
from kernel.clock import ManualClock
from kernel.errors import BadInput, Conflict, NotFound
from kernel.ids import AccountId, TxId
from tests.integration.brain.billing.stage import Stage

BOTH = {"journal_chain", "journal_seals"}

pytestmark = pytest.mark.feature("G3")


@pytest.fixture
def stage(ctx: Ctx, clock: ManualClock) -> Stage:
    return Stage(ctx, clock)


async def posted(ctx: Ctx, count: int) -> list[TxId]:
    """Transactions by themselves and together, over several connections."""

    async def one(number: int) -> TxId:
        entries = (Entry("test:a", Asset.USD, -number), Entry("test:b", Asset.USD, number))
        made = Posting(ctx.ids.new(TxId), f"key {number}", "test", "memo", entries)
        return (await post(ctx, made)).id

    return list(await asyncio.gather(*(one(n) for n in range(1, count + 1))))


async def tampered(ctx: Ctx, table: str, statement: str) -> None:
    """What only who owns the database can do."""
    async with ctx.db.begin() as tx:
        await tx.execute(text(f"ALTER TABLE {table} DISABLE TRIGGER USER"))
        await tx.execute(text(statement))
        await tx.execute(text(f"ALTER TABLE {table} ENABLE TRIGGER USER"))


async def broken(ctx: Ctx) -> set[str]:
    return {proof.name for proof in await prove(ctx) if not proof.holds}


@pytest.mark.parametrize(
    ("table", "statement", "shows"),
    [
        ("journal_tx", "UPDATE journal_tx SET memo = 'other'", {"journal_chain"}),
        (
            "journal_entry",
            "UPDATE journal_entry SET amount = 2 * amount",
            {"journal_chain", "balances"},
        ),
        ("journal_tx", "DELETE FROM journal_tx WHERE memo = 'memo'", {"journal_chain"}),
        ("journal_batch", "DELETE FROM journal_batch", BOTH),
        (
            "journal_batch",
            "UPDATE journal_batch SET hash = 'x'",
            BOTH,
        ),
        ("journal_seal", "UPDATE journal_seal SET hash = 'x'", {"journal_seals"}),
    ],
)
async def test_tampering_shows(ctx: Ctx, table: str, statement: str, shows: set[str]) -> None:
    await posted(ctx, 7)
    assert await seal(ctx) is not None
    assert await broken(ctx) == set()
    await tampered(ctx, table, statement)
    assert await broken(ctx) == shows


async def test_a_transaction_that_no_batch_holds_shows(ctx: Ctx) -> None:
    await posted(ctx, 2)
    async with ctx.db.begin() as tx:
        await tx.execute(text("INSERT INTO journal_tx VALUES ('tx_1', 'k', 'h', 'x', '', now())"))
    assert await broken(ctx) == {"journal_chain"}


async def test_seals_follow_each_other_and_an_idle_journal_needs_none(ctx: Ctx) -> None:
    await posted(ctx, 3)
    first = await seal(ctx)
    assert await seal(ctx) is None
    await grant(ctx, Grant(ctx.ids.new(AccountId), "promo", "r", "k", credits=5))
    second = await seal(ctx)
    assert first is not None
    assert second is not None
    assert (first.number, second.number) == (1, 2)
    assert await broken(ctx) == set()


@pytest.mark.parametrize("statement", ["DELETE FROM {}", "UPDATE {} SET hash = 'x'"])
@pytest.mark.parametrize("table", ["journal_batch", "journal_seal"])
async def test_links_and_seals_refuse_to_be_changed(ctx: Ctx, table: str, statement: str) -> None:
    await posted(ctx, 1)
    await seal(ctx)
    with pytest.raises(Exception, match="immutable"):
        async with ctx.db.begin() as tx:
            await tx.execute(text(statement.format(table)))


class Room:
    """A room that adds a law of its own."""

    name = "room"

    def __init__(self) -> None:
        self.wrong = 0

    async def proofs(self, tx: Tx, now_ns: int) -> Sequence[Proof]:
        return [Proof("room_law", "a law", 3, self.wrong)]


async def test_a_broken_identity_is_an_alarm_until_it_holds(ctx: Ctx, clock: ManualClock) -> None:
    room, seen = Room(), []
    for room.wrong in (0, 2, 1, 0):
        clock.advance(600)
        await asyncio.gather(*(prove_due(ctx, [room]) for _ in range(3)))
        async with ctx.db.begin() as tx:
            (state,) = [s for s in await proof_states(tx) if s.name == "room_law"]
        seen.append((state.broken, state.broken_since))
    assert [count for count, _ in seen] == [0, 2, 1, 0]
    assert seen[0][1] is seen[3][1] is None
    assert seen[1][1] == seen[2][1] is not None


async def test_a_reversal_turns_every_entry_and_is_posted_once(stage: Stage) -> None:
    account = stage.account()
    id = await grant(stage.ctx, Grant(account, "promo", "gift", "k", credits=10))
    made = await asyncio.gather(*(reverse(stage.ctx, id, reason="by mistake") for _ in range(5)))
    assert len(set(made)) == 1
    assert await stage.posted(account) == 0
    assert await broken(stage.ctx) == set()
    with pytest.raises(Conflict):
        await reverse(stage.ctx, id, reason="another")


async def test_a_reversal_that_overdraws_stops_the_account(stage: Stage) -> None:
    account = stage.account()
    id = await grant(stage.ctx, Grant(account, "promo", "gift", "k", credits=10))
    spent = (Entry(account, Asset.USD, -700_000), Entry("platform:pool", Asset.USD, 700_000))
    await post(stage.ctx, Posting(stage.ctx.ids.new(TxId), "use", "test", "", spent))
    await reverse(stage.ctx, id, reason="by mistake")
    assert await stage.posted(account) == -700_000
    assert await stage.one("SELECT stopped FROM account_standing") is True


async def test_payments_and_reversals_are_not_reversed(stage: Stage) -> None:
    ctx = stage.ctx
    paid = await grant(ctx, Grant(stage.account(), "purchase", "r", "a", credits=10))
    gift = await grant(ctx, Grant(stage.account(), "promo", "r", "b", credits=10))
    turned = await reverse(ctx, gift, reason="r")
    for id in (paid, turned):
        with pytest.raises(BadInput, match="refund"):
            await reverse(ctx, id, reason="r")
    with pytest.raises(NotFound):
        await reverse(ctx, ctx.ids.new(TxId), reason="r")
