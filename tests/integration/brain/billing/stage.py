"""A small stage for money tests: accounts, leases and gateways on the test's own database."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import text

from brain.billing import (
    Grant,
    LeaseMark,
    LeaseTerms,
    grant,
    lease_evidence,
    lease_mark,
    lease_opened,
)
from brain.billing.service.gateway import MeterPolicy, hello, receiving_beat, usage_reported
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.ids import AccountId, DeploymentId, LeaseId, ReplicaId, RequestId
from kernel.wire.gateway import (
    Hello,
    Segment,
    SegmentEnd,
    UsageAnswer,
    UsageBatch,
    Watermark,
    segment_key,
)

POLICY = MeterPolicy(installation_id="test")
RATE = 3_600_000_000  # $3.60 per GPU-hour: a nano-dollar per GPU-microsecond
PROVIDER = AccountId("acct_" + "f" * 32)


@dataclass
class Gateway:
    """One gateway boot; its monotonic clock is brain time less a fixed offset."""

    ctx: Ctx
    boot: str = "boot_1"
    offset_ns: int = 0

    async def hello(self, monotonic_ns: int = 5 * NS) -> None:
        message = Hello(self.boot, "gw:1", monotonic_ns)
        self.offset_ns = (await hello(self.ctx, message, POLICY)).offset_ns

    def mine(self, brain_ns: int) -> int:
        return brain_ns - self.offset_ns

    async def beat(self) -> None:
        """The web process says that it can receive."""
        await receiving_beat(self.ctx)

    async def send(
        self,
        segments: list[Segment],
        *,
        replica: str | None = None,
        until_ns: int | None = None,
        **more: object,
    ) -> UsageAnswer:
        """Ship segments; ``until_ns`` (brain time) states a watermark for ``replica``."""
        marks = []
        if replica is not None and until_ns is not None:
            marks = [Watermark(str(replica), self.mine(until_ns))]
        await self.beat()
        sent = self.mine(self.ctx.clock.now_ns())
        batch = UsageBatch(self.boot, "gw:1", sent, segments, watermarks=marks, **more)
        return await self.raw(batch)

    async def raw(self, batch: UsageBatch) -> UsageAnswer:
        return await usage_reported(self.ctx, batch)


@dataclass
class Stage:
    ctx: Ctx
    clock: ManualClock
    gateway: Gateway = field(init=False)

    def __post_init__(self) -> None:
        self.gateway = Gateway(self.ctx)
        # Windows lie on the grid of whole tens of seconds.
        now = self.clock.now_ns()
        self.clock.advance(ns=-now % (10 * NS))

    @property
    def now(self) -> int:
        return self.clock.now_ns()

    def account(self) -> AccountId:
        return self.ctx.ids.new(AccountId)

    async def rich(self, dollars: int = 10) -> AccountId:
        account = self.account()
        key = f"first money of {account}"
        await grant(self.ctx, Grant(account, "purchase", "test", key, credits=dollars * 10_000))
        return account

    def terms(self, **changed: object) -> LeaseTerms:
        values: dict[str, object] = {
            "lease_id": self.ctx.ids.new(LeaseId),
            "epoch": 1,
            "payer": PLATFORM_ACCOUNT,
            "provider": PROVIDER,
            "gpus": 1,
            "renter_rate_nano": RATE,
            "provider_rate_nano": RATE,
            "mode": "pool",
            "pool_rate_nano": RATE,
            "ceiling_prompt_nano": 0,
            "ceiling_completion_nano": 0,
            "deployment_id": self.ctx.ids.new(DeploymentId),
            "replica_id": self.ctx.ids.new(ReplicaId),
            "opened_ns": self.now,
        }
        return LeaseTerms(**(values | changed))

    async def ready_lease(self, **changed: object) -> LeaseTerms:
        """A lease that is ready from the moment it opened."""
        terms = self.terms(**changed)
        async with self.ctx.db.begin() as tx:
            await lease_opened(tx, terms, self.ctx.ids)
            for mark in (LeaseMark.LOADING, LeaseMark.READY):
                await lease_mark(tx, terms.lease_id, mark, self.now)
        return terms

    async def alive(self, terms: LeaseTerms) -> None:
        async with self.ctx.db.begin() as tx:
            await lease_evidence(tx, {terms.lease_id: self.now})

    def segment(
        self, terms: LeaseTerms, account: AccountId, start_ns: int, end_ns: int, **changed: object
    ) -> Segment:
        """One whole request as one segment, in brain time."""
        request = str(changed.pop("request_id", None) or self.ctx.ids.new(RequestId))
        number = int(changed.get("number", 0))  # type: ignore[call-overload]
        values: dict[str, object] = {
            "key": segment_key(request, 0, number),
            "day": "2027-01-15",
            "boot_id": self.gateway.boot,
            "request_id": request,
            "account_id": str(account),
            "key_id": "key_" + "1" * 32,
            "deployment_id": str(terms.deployment_id),
            "replica_id": str(terms.replica_id),
            "lease_id": str(terms.lease_id),
            "epoch": terms.epoch,
            "attempt": 0,
            "number": number,
            "start_ns": self.gateway.mine(start_ns),
            "end_ns": self.gateway.mine(end_ns),
            "end": SegmentEnd.DONE,
            "prompt_tokens": 10,
            "completion_tokens": 20,
        }
        return Segment(**(values | changed))

    async def posted(self, account: str, asset: str = "USD") -> int:
        async with self.ctx.db.begin() as tx:
            found = await tx.scalar(
                text(
                    "SELECT posted FROM balance WHERE ledger_account = :account AND asset = :asset"
                ),
                {"account": account, "asset": asset},
            )
        return int(found or 0)

    async def one(self, sql: str, **values: object) -> object:
        async with self.ctx.db.begin() as tx:
            return await tx.scalar(text(sql), values)
