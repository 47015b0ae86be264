"""Puts the parts together: the only place that reads settings and hands adapters to ports."""

from __future__ import annotations

from dataclasses import dataclass

from redis.asyncio import Redis

from brain import billing
from brain.edge.metrics import Metrics
from brain.identity import Identity, Passwords, Tokens
from brain.plumbing import Ctx, Db, Tx, valkey
from brain.settings import Settings
from kernel.clock import SystemClock
from kernel.ids import AccountId, SystemIds


class BillingGate:
    """Identity's question about credit, answered by billing."""

    async def purchased_credits(self, tx: Tx, account_id: AccountId) -> int:
        return await billing.purchased_credits(tx, account_id)


@dataclass(frozen=True)
class Parts:
    """What one brain process works with."""

    settings: Settings
    ctx: Ctx
    valkey: Redis
    metrics: Metrics
    identity: Identity

    async def close(self) -> None:
        self.identity.passwords.close()
        await self.valkey.aclose()
        await self.ctx.db.close()


def system_ctx(settings: Settings) -> Ctx:
    """The context over the real clock and the database of the settings."""
    clock = SystemClock()
    db = Db(settings.database_url.get_secret_value())
    return Ctx(db=db, clock=clock, ids=SystemIds(clock))


def assemble(
    settings: Settings, *, ctx: Ctx | None = None, passwords: Passwords | None = None
) -> Parts:
    """Every part, made but not yet connected: nothing here waits.

    Tests hand their own context, and passwords that are quick to hash.
    """
    made = ctx or system_ctx(settings)
    return Parts(
        settings=settings,
        ctx=made,
        valkey=valkey.connect(settings.redis_url.get_secret_value()),
        metrics=Metrics(),
        identity=Identity(
            tokens=Tokens(
                settings.jwt_secret_key.get_secret_value(),
                made.clock,
                lasts_seconds=settings.access_token_seconds,
            ),
            passwords=passwords or Passwords(),
            gate=BillingGate(),
            credits_for_key_min=settings.minimum_credits_for_api_key,
        ),
    )
