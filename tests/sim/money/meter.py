"""The usage side of a world: leases, a gateway with its spool, and what is known to have run.

Nothing here reads the product's books: ``Made`` is the model that the laws compare them with.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from brain.billing import (
    LeaseMark,
    LeaseTerms,
    MeterPolicy,
    lease_closed,
    lease_evidence,
    lease_mark,
)
from brain.billing import lease_opened as open_lease
from brain.billing.service.gateway import hello, receiving_beat, slice_asked, usage_reported
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx
from kernel.clock import NS, at_ns
from kernel.errors import Conflict, OutOfCredit
from kernel.ids import AccountId, DeploymentId, HoldId, LeaseId, ReplicaId, RequestId
from kernel.wire.gateway import (
    Hello,
    Segment,
    SegmentEnd,
    SliceRequest,
    SliceReturn,
    UsageBatch,
    Watermark,
    segment_key,
)
from tests.sim.money.process import MoneyProcess

RATE = 3_600_000_007  # nano-dollars per GPU-hour; a prime part, so that rounding shows
CUT_NS = 10 * NS
BATCH_MAX = 40


@dataclass
class Made:
    """What really ran, and what the brain said it has."""

    pieces: list[tuple[str, str, int, int]] = field(default_factory=list)  # key, account, from, to
    acked: set[str] = field(default_factory=set)


@dataclass
class Gateway:
    """One gateway boot; its monotonic clock is brain time less a fixed offset."""

    chance: Random
    made: Made
    boot: str = "boot_money"
    offset_ns: int = 0
    spool: list[Segment] = field(default_factory=list)
    slices: dict[str, str] = field(default_factory=dict)  # account: slice
    asking: dict[str, str] = field(default_factory=dict)  # account: slice with no answer yet
    back: list[str] = field(default_factory=list)

    async def hello(self, ctx: Ctx, monotonic_ns: int) -> None:
        told = await hello(ctx, Hello(self.boot, "gw:1", monotonic_ns), MeterPolicy())
        self.offset_ns = told.offset_ns

    async def slice(self, process: MoneyProcess, account: AccountId) -> None:
        """Take or renew the account's slice; the request's id makes a repeat safe. One that got no
        answer is asked for again by its id: it may have been granted."""
        id = self.slices.get(account) or self.asking.get(account)
        if id is None:
            id = self.asking[account] = str(process.ctx.ids.new(HoldId))
        asked = SliceRequest(id, self.boot, str(account), want_nano=NS, need_nano=NS // 100)
        try:
            await slice_asked(process.ctx, asked)
        except OutOfCredit:
            process.note(f"no credit for {account[-4:]}")
            self.asking.pop(account, None)
            return
        self.asking.pop(account, None)
        self.slices.setdefault(account, id)

    def serve(self, lease: LeaseTerms, account: str, start: int, end: int, request: str) -> None:
        """One request that ran from ``start`` to ``end``, in brain time, cut into segments."""
        number, at, weight = 0, start, self.chance.choice((1, 1, 3))
        while at < end:
            until = min(at + CUT_NS, end)
            last = until == end
            segment = self._segment(lease, account, request, number, at, until, weight, last)
            self.spool.append(segment)
            self.made.pieces.append((segment.key, account, at, until))
            number, at = number + 1, until

    def _segment(
        self,
        lease: LeaseTerms,
        account: str,
        request: str,
        number: int,
        start: int,
        end: int,
        weight: int,
        last: bool,
    ) -> Segment:
        return Segment(
            key=segment_key(request, 0, number),
            day=at_ns(start).date().isoformat(),
            boot_id=self.boot,
            request_id=request,
            account_id=str(account),
            key_id="key_" + "1" * 32,
            deployment_id=str(lease.deployment_id),
            replica_id=str(lease.replica_id),
            lease_id=str(lease.lease_id),
            epoch=lease.epoch,
            attempt=0,
            number=number,
            start_ns=start - self.offset_ns,
            end_ns=end - self.offset_ns,
            weight=weight,
            end=SegmentEnd.DONE if last else SegmentEnd.OPEN,
            prompt_tokens=3 if last else 0,
            completion_tokens=7 if last else 0,
            slice_id=self.slices.get(account),
        )

    async def ship(self, process: MoneyProcess, replicas: list[str]) -> None:
        """Send what is in the spool, doubled and shuffled; forget only what was acknowledged."""
        await receiving_beat(process.ctx)
        sent = self.spool[:BATCH_MAX]
        told = [*sent, *(one for one in sent if self.chance.random() < 0.3)]
        self.chance.shuffle(told)
        now = process.ctx.clock.now_ns() - self.offset_ns
        marks = [Watermark(one, now) for one in replicas] if len(sent) == len(self.spool) else []
        back = list(self.back)
        returns = [SliceReturn(one) for one in back]
        batch = UsageBatch(self.boot, "gw:1", now, told, watermarks=marks, returns=returns)
        try:
            await usage_reported(process.ctx, batch)
        except Conflict:
            await self.hello(process.ctx, now)
            return
        self.made.acked |= {one.key for one in sent}
        keys = {one.key for one in sent}
        self.spool = [one for one in self.spool if one.key not in keys]
        self.back = [one for one in self.back if one not in back]


@dataclass
class Meter:
    """Leases that run, and what people ask of them."""

    chance: Random
    gateway: Gateway
    leases: dict[str, LeaseTerms] = field(default_factory=dict)
    closing: set[str] = field(default_factory=set)
    until_ns: int = 0  # requests began up to here

    async def open(self, ctx: Ctx, terms: LeaseTerms) -> bool:
        try:
            async with ctx.db.begin() as tx:
                await open_lease(tx, terms, ctx.ids)
                for mark in (LeaseMark.LOADING, LeaseMark.READY):
                    await lease_mark(tx, terms.lease_id, mark, terms.opened_ns)
        except OutOfCredit:
            return False
        self.leases[str(terms.lease_id)] = terms
        return True

    async def see(self, process: MoneyProcess) -> None:
        """Each lease that runs was seen alive just now."""
        now = process.ctx.clock.now_ns()
        alive = [LeaseId(one) for one in self.leases if one not in self.closing]
        async with process.ctx.db.begin() as tx:
            await lease_evidence(tx, dict.fromkeys(alive, now))

    async def close(self, process: MoneyProcess, lease: str) -> None:
        self.closing.add(lease)
        at = process.ctx.clock.now_ns()
        async with process.ctx.db.begin() as tx:
            await lease_closed(tx, LeaseId(lease), at, "gone")

    def ask(self, ctx: Ctx, accounts: list[AccountId], now_ns: int) -> int:
        """Requests of the last half minute, on the pool's lease; how many."""
        pool = [one for one in self.leases.values() if one.payer == PLATFORM_ACCOUNT]
        begin = max(self.until_ns, now_ns - 30 * NS)
        payers = [one for one in accounts if one in self.gateway.slices]
        if not pool or not payers or now_ns - begin < NS:
            return 0
        count = self.chance.randint(0, 4)
        for _ in range(count):
            start = self.chance.randrange(begin, now_ns - 1)
            end = self.chance.randrange(start + 1, now_ns)
            request = str(ctx.ids.new(RequestId))
            account = self.chance.choice(payers)
            self.gateway.serve(pool[0], account, start, end, request)
        self.until_ns = now_ns
        return count

    @property
    def replicas(self) -> list[str]:
        return [str(one.replica_id) for one in self.leases.values()]


def pool_terms(ctx: Ctx, provider: AccountId, **changed: object) -> LeaseTerms:
    """One GPU of ``provider`` in the shared pool, or as ``changed`` says."""
    values: dict[str, object] = {
        "lease_id": ctx.ids.new(LeaseId),
        "epoch": 1,
        "payer": PLATFORM_ACCOUNT,
        "provider": provider,
        "gpus": 1,
        "renter_rate_nano": RATE,
        "provider_rate_nano": RATE,
        "mode": "pool",
        "pool_rate_nano": RATE,
        "ceiling_prompt_nano": 0,
        "ceiling_completion_nano": 0,
        "deployment_id": ctx.ids.new(DeploymentId),
        "replica_id": ctx.ids.new(ReplicaId),
        "opened_ns": ctx.clock.now_ns(),
    }
    return LeaseTerms(**(values | changed))  # type: ignore[arg-type]
