"""The laws of money, after every step: the product's own proofs, and a model of what really was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy.exc import OperationalError

from brain import billing
from brain.payments import PaymentProofs
from brain.payouts.proofs import PayoutProofs
from brain.plumbing import Tx
from kernel.errors import GanglionError
from kernel.money import CARRY_DIVISOR
from tests.sim.money import outside
from tests.sim.money.logs import caught
from tests.sim.money.meter import RATE
from tests.sim.money.rows import rows
from tests.sim.money.world import World
from tests.sim.whole.broken import Broken

# Who was away for hours has them to catch up with, and may be held up by faults.
SLOW = frozenset({"payments_processors"})
ABSENT = frozenset({"admissions"})  # deadlines pass while everyone is away
CALM_STEPS = 5
# Deadlocks, cut connections, late answers, and what is told to people.
MEANT = (OperationalError, OSError, TimeoutError, GanglionError)


# Of each account: ticks of settled usage, charged, captured, carry.
_CHARGES = """
SELECT coalesce((SELECT sum(settled_ticks) FROM usage_segment WHERE account_id = a.id), 0),
       coalesce((SELECT -sum(e.amount) FROM journal_entry e JOIN journal_tx t ON t.id = e.tx_id
                 WHERE e.ledger_account = a.id AND e.asset = 'USD'
                   AND t.kind IN ('pool_window', 'waiver')), 0),
       coalesce((SELECT sum(captured) FROM hold WHERE account_id = a.id), 0),
       coalesce((SELECT carry FROM balance WHERE ledger_account = a.id AND asset = 'USD'), 0)
FROM unnest($1::text[]) a(id)
"""


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
        self._unmeant(world)
        async with world.ctx.db.begin() as tx:
            await self._usage(tx, world)
            await self._rounding(tx, world)
            for found in await outside.look(tx, world, rest=rest):
                self._hold(found.holds, found.law, found.said)
            if rest:
                await self._all_came_right(tx, world)
        return self.broken

    def _unmeant(self, world: World) -> None:
        """What left a piece of work, or was caught and told in the log: each is a fault's."""
        told = [*world.faults.errors, *caught()]
        unmeant = [repr(one)[:300] for one in told if not isinstance(one, MEANT)]
        self._hold(not unmeant, "no error that no fault explains", "; ".join(unmeant[:2]))

    def _hold(self, holds: bool, law: str, said: str) -> None:
        self.checks += 1
        if not holds:
            self.broken.append(Broken(law, said))

    async def _usage(self, tx: Tx, world: World) -> None:
        """What the brain acknowledged, it has: the gateway forgot it."""
        kept = await rows(
            tx,
            "SELECT key, false FROM usage_segment UNION ALL SELECT key, true FROM parked_segment",
        )
        lost = world.meter.gateway.made.acked - {key for key, _ in kept}
        self._hold(not lost, "acknowledged usage is kept", f"{len(lost)} segments are lost")
        parked = sum(1 for _, is_parked in kept if is_parked)
        self._hold(parked == 0, "true usage is never parked", f"{parked} are")

    async def _rounding(self, tx: Tx, world: World) -> None:
        """Charges and carry are the price of the GPU time, exactly."""
        for ticks, charged, captured, carry in await rows(tx, _CHARGES, [*world.people]):
            said = f"{captured} was captured, {charged} was charged"
            self._hold(captured <= charged, "no more is captured than was charged", said)
            said = f"{charged} nano-dollars and carry {carry} for {ticks} ticks"
            exact = charged * CARRY_DIVISOR + carry == RATE * ticks
            self._hold(exact, "charges and carry are price times time", said)

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
        under_way = await _names(
            tx,
            "SELECT payout_id || ' ' || state FROM payout WHERE state NOT IN ('paid', 'failed')"
            # Its processor was called and said nothing for hours: that is for a person to settle.
            " AND NOT (state = 'unknown' AND calls > 0)",
        )
        self._hold(not under_way, "every payout comes to an end", f"{under_way}")


async def _names(tx: Tx, sql: str) -> Sequence[str]:
    return [str(row[0]) for row in await rows(tx, sql)]
