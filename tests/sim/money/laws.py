"""The laws of money, after every step: the product's own proofs, and a model of what really was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from brain import billing
from brain.payments import PaymentProofs
from brain.payouts.proofs import PayoutProofs
from brain.plumbing import Tx
from kernel.money import CARRY_DIVISOR
from tests.sim.money.meter import RATE
from tests.sim.money.world import World
from tests.sim.whole.broken import Broken

# Who was away for hours has them to catch up with, and may be held up by faults.
SLOW = frozenset({"payments_processors", "payments_known"})
ABSENT = frozenset({"admissions"})  # deadlines pass while everyone is away
CALM_STEPS = 5


@dataclass
class Laws:
    """``checks``: how many laws were held against the books so far."""

    checks: int = 0
    broken: list[Broken] = field(default_factory=list)

    async def check(self, world: World, *, rest: bool = False) -> list[Broken]:
        self.broken = []
        sources = [PaymentProofs(), PayoutProofs()]
        for proof in await billing.prove(world.ctx, None, sources):
            away = proof.name in ABSENT and world.calm < CALM_STEPS
            if not rest and (away or proof.name in SLOW):
                continue
            self._hold(proof.holds, proof.name, f"{proof.broken} of {proof.count}: {proof.law}")
        unmeant = [e for e in world.faults.errors if not isinstance(e, OperationalError)]
        self._hold(not unmeant, "no error that no fault explains", repr(unmeant[:1])[:300])
        async with world.ctx.db.begin() as tx:
            await self._usage(tx, world)
            await self._rounding(tx, world)
            await self._taken_once(tx, world)
            await self._paid_out_once(tx, world)
            if rest:
                await self._all_came_right(tx, world)
        return self.broken

    def _hold(self, holds: bool, law: str, said: str) -> None:
        self.checks += 1
        if not holds:
            self.broken.append(Broken(law, said))

    async def _usage(self, tx: Tx, world: World) -> None:
        """What the brain acknowledged, it has: the gateway forgot it."""
        rows = await tx.execute(
            text("SELECT key FROM usage_segment UNION ALL SELECT key FROM parked_segment")
        )
        kept = {row.key for row in rows}
        lost = world.meter.gateway.made.acked - kept
        self._hold(not lost, "acknowledged usage is kept", f"{len(lost)} segments are lost")
        parked = await _int(tx, "SELECT count(*) FROM parked_segment")
        self._hold(parked == 0, "true usage is never parked", f"{parked} are")

    async def _rounding(self, tx: Tx, world: World) -> None:
        """Charges and carry are the price of the GPU time, exactly."""
        for account in world.people:
            ticks = await _int(
                tx,
                "SELECT coalesce(sum(settled_ticks), 0) FROM usage_segment WHERE account_id = :a",
                a=account,
            )
            charged = await _int(
                tx,
                "SELECT coalesce(-sum(e.amount), 0) FROM journal_entry e JOIN journal_tx t"
                " ON t.id = e.tx_id WHERE e.ledger_account = :a AND e.asset = 'USD'"
                " AND t.kind IN ('pool_window', 'waiver')",
                a=account,
            )
            captured = await _int(
                tx,
                "SELECT coalesce(sum(captured), 0) FROM hold WHERE account_id = :a",
                a=account,
            )
            said = f"{captured} was captured, {charged} was charged"
            self._hold(captured <= charged, "no more is captured than was charged", said)
            carry = (await billing.balances(tx, [account]))[account].carry
            said = f"{charged} nano-dollars and carry {carry} for {ticks} ticks"
            exact = charged * CARRY_DIVISOR + carry == RATE * ticks
            self._hold(exact, "charges and carry are price times time", said)

    async def _taken_once(self, tx: Tx, world: World) -> None:
        """Nothing is credited that the processor did not take; nothing is taken twice."""
        taken: dict[str, int] = {}
        for intent in world.stripe.table("payment_intent").values():
            topup = intent["metadata"].get("topup", "")
            if intent["status"] == "succeeded":
                taken[topup] = taken.get(topup, 0) + intent["amount_received"]
        rows = await tx.execute(text("SELECT topup_id, amount_minor, state FROM topup"))
        wanted = {row.topup_id: (row.amount_minor, row.state) for row in rows}
        twice = [one for one, sum_ in taken.items() if sum_ != wanted.get(one, (0, ""))[0]]
        self._hold(not twice, "each top-up is taken once", f"of {twice} another sum was taken")
        void = [o for o, (_, state) in wanted.items() if state == "paid" and o not in taken]
        self._hold(not void, "only what was taken is credited", f"{void} was not taken")
        ours = await _int(
            tx, "SELECT coalesce(sum(amount_minor), 0) FROM topup_reversal WHERE ours"
        )
        gone = sum(row["amount"] for row in world.stripe.table("refund").values())
        said = f"{gone} went back, {ours} was booked"
        self._hold(gone <= ours, "no refund is made twice", said)

    async def _paid_out_once(self, tx: Tx, world: World) -> None:
        """What MoMo sent for each payout is what was asked, once."""
        asked = world.outside.momo.asked.values()
        sent = [
            a for a in asked if a.product == "disbursement" and a.status(10**30) == "SUCCESSFUL"
        ]
        orders = [str(one.body.get("externalId")) for one in sent]
        doubled = len(orders) - len(set(orders))
        self._hold(not doubled, "each payout is sent once", f"{doubled} were sent again")
        claimed = await _int(tx, "SELECT count(*) FROM payout WHERE state = 'paid'")
        said = f"{claimed} are said to be paid, {len(sent)} were"
        self._hold(claimed <= len(sent), "only what was sent counts as paid out", said)

    async def _all_came_right(self, tx: Tx, world: World) -> None:
        """At rest: all that was taken is credited, all usage is settled, no slice is left."""
        waits = await _names(tx, "SELECT key FROM usage_segment WHERE NOT folded")
        self._hold(not waits, "all usage is settled in the end", f"{len(waits)} wait")
        spool = len(world.meter.gateway.spool)
        self._hold(not spool, "all usage is shipped in the end", f"{spool} wait")
        slices = await _names(tx, "SELECT id FROM hold WHERE state = 'open' AND purpose = 'slice'")
        self._hold(not slices, "no slice is left in the end", f"{slices}")
        open_ = await _names(
            tx,
            "SELECT topup_id || ' ' || state FROM topup WHERE state IN"
            " ('created', 'asked', 'processing', 'needs_payer', 'parked')",
        )
        self._hold(not open_, "every top-up comes to an end", f"{open_}")
        succeeded = [
            row["metadata"].get("topup", "")
            for row in world.stripe.table("payment_intent").values()
            if row["status"] == "succeeded"
        ]
        paid = await _names(tx, "SELECT topup_id FROM topup WHERE state = 'paid'")
        lost = sorted(set(succeeded) - set(paid))
        self._hold(not lost, "all that was taken is credited in the end", f"{lost}")
        await self._refunds(tx, world)
        under_way = await _names(
            tx, "SELECT payout_id || ' ' || state FROM payout WHERE state NOT IN ('paid', 'failed')"
        )
        self._hold(not under_way, "every payout comes to an end", f"{under_way}")

    async def _refunds(self, tx: Tx, world: World) -> None:
        ours = await _int(
            tx,
            "SELECT coalesce(sum(amount_minor), 0) FROM topup_reversal"
            " WHERE ours AND state = 'stands'",
        )
        gone = sum(
            row["amount"]
            for row in world.stripe.table("refund").values()
            if row["status"] == "succeeded"
        )
        said = f"{gone} went back, {ours} stands in the books"
        self._hold(gone == ours, "what went back is what was booked", said)


async def _int(tx: Tx, sql: str, **values: object) -> int:
    return int(await tx.scalar(text(sql), values) or 0)


async def _names(tx: Tx, sql: str) -> Sequence[str]:
    return [str(row[0]) for row in await tx.execute(text(sql))]
