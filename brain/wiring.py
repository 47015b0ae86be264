"""Puts the parts together: the only place that reads settings and hands adapters to ports."""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from redis.asyncio import Redis

from brain import (
    billing,
    costs,
    deployments,
    fleet,
    offers,
    payments,
    payouts,
    pods,
    provisioning,
    trust,
    witness,
)
from brain.adapters.clouds import open_clouds
from brain.adapters.payments.disbursers import open_disbursers
from brain.adapters.payments.open import Payments, open_payments
from brain.bridges import (
    BillingGate,
    DeploymentWaiting,
    DeploymentWatch,
    ModelsNear,
    OwnersOfWork,
)
from brain.clouds import Cloud
from brain.deployments import Feed, tasks
from brain.edge.idempotency import forget_old
from brain.edge.limits import Limits
from brain.edge.metrics import Metrics
from brain.history import FleetGauges, HistoryPart, Meters, reconcile_history
from brain.identity import PLATFORM_ACCOUNT, Identity, Passwords, Tokens
from brain.invoices import InvoiceProofs
from brain.marketplace import AgentUpdates, JoinTerms, agent_file
from brain.paperwork import ticks as paper_ticks
from brain.plumbing import Ctx, Db, valkey
from brain.replays import Replays, forget_old_replays
from brain.secrets import Vault
from brain.settings import Settings
from brain.sources import sources
from brain.terms import (
    gateway_limits,
    meter_policy,
    rates,
    rent_terms,
    trust_terms,
    vault_of,
)
from catalog import Catalog, load_catalog
from kernel.clock import Clock, SystemClock
from kernel.ids import SystemIds

Tick = Callable[[], Awaitable[object]]


@dataclass(frozen=True)
class Parts:
    """What one brain process works with."""

    settings: Settings
    ctx: Ctx
    valkey: Redis
    metrics: Metrics
    fleet_gauges: FleetGauges
    limits: Limits
    identity: Identity
    vault: Vault
    updates: AgentUpdates
    link_gateways: fleet.LinkGateways
    agents: fleet.AgentFront
    join_terms: JoinTerms
    payout_terms: payouts.PayoutTerms
    payments: Payments
    catalog: Catalog
    feed: Feed
    replays: Replays
    wake: tasks.Wake

    async def start(self) -> None:
        """Begin to receive agents and to tell gateways."""
        await self.agents.start()
        await self.feed.start()

    async def close(self) -> None:
        await self.feed.close()
        await self.agents.stop()
        self.wake.close()
        self.identity.passwords.close()
        await self.payout_terms.close()
        await self.payments.close()
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
    redis = valkey.connect(settings.redis_url.get_secret_value())
    master_key = bytes.fromhex(settings.master_key.get_secret_value())
    gateways = fleet.LinkGateways(made)
    metrics = Metrics()
    meters = Meters(metrics.registry)
    history = HistoryPart(made, meters)
    wake = tasks.Wake(settings.redis_url.get_secret_value())
    updates = _agent_updates(settings, made)
    return Parts(
        settings=settings,
        ctx=made,
        valkey=redis,
        metrics=metrics,
        fleet_gauges=FleetGauges(metrics.registry),
        limits=Limits(redis, made.clock, rates(settings)),
        vault=vault_of(settings),
        updates=updates,
        link_gateways=gateways,
        agents=_agents(
            settings,
            made,
            fleet.Telemetry(redis, meters.states_lost),
            master_key,
            DeploymentWatch(made, wake),
            (updates, trust.TrustPart(made), gateways, history, pods.VolumeWatch(made)),
        ),
        join_terms=JoinTerms(
            installation_id=settings.installation_id,
            brain_url=settings.public_brain_url,
            beat_seconds=settings.beat_seconds,
            wheels_dir=settings.agent_wheels_dir,
        ),
        payout_terms=payout_terms(settings, made.clock),
        payments=open_payments(settings, made.clock, public_url=settings.public_brain_url),
        catalog=load_catalog(),
        feed=Feed(made, sources(master_key, gateway_limits(settings))),
        replays=Replays(made, master_key),
        wake=wake,
        identity=Identity(
            tokens=Tokens(
                settings.jwt_secret_key.get_secret_value(),
                made.clock,
                lasts_seconds=settings.access_token_seconds,
            ),
            passwords=passwords or Passwords(),
            gate=BillingGate(),
            credits_for_key_min=settings.minimum_credits_for_api_key,
            key_requests_max=max(settings.api_rate_limit, settings.api_rate_limit_max),
        ),
    )


def _agent_updates(settings: Settings, ctx: Ctx) -> AgentUpdates:
    return AgentUpdates(
        ctx,
        lambda: agent_file(settings.agent_wheels_dir),
        settings.agent_update_percent_per_hour,
    )


def _agents(
    settings: Settings,
    ctx: Ctx,
    telemetry: fleet.Telemetry,
    master_key: bytes,
    watcher: DeploymentWatch,
    parts: Sequence[fleet.BeatPart],
) -> fleet.AgentFront:
    return fleet.AgentFront(
        ctx=ctx,
        terms=fleet.FrontTerms(
            installation_id=settings.installation_id,
            secret=fleet.session_secret(master_key),
            beat_seconds=settings.beat_seconds,
            log_terms=fleet.LogTerms(
                lines_max=settings.log_lines_per_lease, bytes_max=settings.log_bytes_per_lease
            ),
        ),
        telemetry=telemetry,
        watcher=watcher,
        vault=vault_of(settings),
        parts=parts,
    )


@dataclass(frozen=True)
class WorkerParts:
    """What one worker process works with."""

    settings: Settings
    ctx: Ctx
    catalog: Catalog
    clouds: Mapping[str, Cloud]
    payout_terms: payouts.PayoutTerms = field(default_factory=payouts.PayoutTerms)
    payments: Payments = field(default_factory=Payments)

    def ticks(
        self, halt: Callable[[], bool], hint: Callable[[], None] | None = None
    ) -> Mapping[str, Tick]:
        """Each tick by its task's name; ``halt`` says when to end early. ``hint`` is called when
        a lease changed, and with it what deployments have to do."""
        ctx = self.ctx
        owner = f"{socket.gethostname()}:{os.getpid()}"
        watcher = DeploymentWatch(ctx, hint)
        ttl, kept_days = self.settings.lease_ttl_seconds, self.settings.volume_grace_days
        market = offers.Market(ctx, ModelsNear())
        vault = vault_of(self.settings)

        async def reconcile() -> object:
            return await deployments.reconcile_due(
                ctx,
                self.catalog,
                vault,
                owner=owner,
                lease_ttl_seconds=ttl,
                market=market,
                own_work=pods.PodClaims(vault, vault.sealer),
                images=provisioning.CloudImages(self.clouds),
                halt=halt,
            )

        async def pod_rows() -> object:
            return await pods.reconcile_pods(ctx, owner=owner, grace_days=kept_days, halt=halt)

        async def leases() -> object:
            return await fleet.reconcile_leases(ctx, watcher=watcher)

        async def judge() -> object:
            return await witness.judge_due(ctx, wait_seconds=self.settings.witness_wait_seconds)

        async def history() -> object:
            return await reconcile_history(ctx, halt=halt)

        return {
            tasks.DEPLOYMENTS: reconcile,
            tasks.PODS: pod_rows,
            tasks.LEASES: leases,
            **self._money_ticks(),
            tasks.TIDY: self._tidy,
            tasks.HISTORY: history,
            tasks.WITNESS: judge,
            **self._cloud_ticks(owner, watcher, halt),
            **paper_ticks(ctx, self.settings, halt),
            **payouts.ticks(ctx, self.payout_terms, owner=owner, halt=halt),
            **payments.ticks(ctx, self.payments.desk, owner=owner, halt=halt),
            **self._looks(),
        }

    def _money_ticks(self) -> Mapping[str, Tick]:
        ctx = self.ctx

        async def settle() -> object:
            return await billing.settle_due(ctx, meter_policy(self.settings))

        async def accrue() -> object:
            await billing.accrue_due(ctx)
            return await deployments.hurry_unpaid(ctx)

        async def release() -> object:
            return await billing.release_due(ctx)

        return {tasks.SETTLE: settle, tasks.ACCRUE: accrue, tasks.RELEASE: release}

    async def _tidy(self) -> object:
        now = self.ctx.clock.now()
        await billing.tend_days(self.ctx, meter_policy(self.settings))
        await forget_old_replays(self.ctx)
        async with self.ctx.db.begin() as tx:
            await forget_old(tx, now=now)
            return await fleet.forget_logs(tx, now - timedelta(days=self.settings.log_days))

    def _looks(self) -> Mapping[str, Tick]:
        return {tasks.TRUST: self._trust, tasks.PROVE: self._prove}

    async def _prove(self) -> object:
        return await billing.prove_due(self.ctx, proof_sources())

    async def _trust(self) -> object:
        return await trust.look(self.ctx, trust_terms(self.settings), OwnersOfWork(self.ctx))

    def _cloud_ticks(
        self, owner: str, watcher: DeploymentWatch, halt: Callable[[], bool]
    ) -> Mapping[str, Tick]:
        ctx, clouds, terms = self.ctx, self.clouds, rent_terms(self.settings)
        vault = vault_of(self.settings)
        looks = provisioning.Looks()
        waiting = DeploymentWaiting(ctx)

        async def intents() -> object:
            return await provisioning.reconcile_intents(
                ctx,
                clouds,
                terms,
                owner=owner,
                watcher=watcher,
                looks=looks,
                vault=vault,
                halt=halt,
            )

        async def sweep() -> object:
            return await provisioning.sweep(ctx, clouds, terms)

        async def refresh() -> object:
            return await offers.refresh_due(ctx, clouds, owner=owner, waiting=waiting)

        async def bills() -> object:
            return await costs.fetch_bills(ctx, clouds, halt=halt)

        return {
            tasks.INTENTS: intents,
            tasks.SWEEP: sweep,
            tasks.OFFERS: refresh,
            tasks.CLOUD_BILLS: bills,
        }

    async def close(self) -> None:
        for cloud in self.clouds.values():
            await cloud.close()
        await self.payout_terms.close()
        await self.payments.close()
        await self.ctx.db.close()


def payout_terms(settings: Settings, clock: Clock) -> payouts.PayoutTerms:
    """Who pays providers, how often, and what of."""
    return payouts.PayoutTerms(
        disbursers=open_disbursers(settings, settings, clock, public_url=settings.public_brain_url),
        every=payouts.Every(settings.payout_period),
        matures_seconds=settings.earnings_mature_seconds,
    )


def proof_sources() -> tuple[billing.ProofSource, ...]:
    """The rooms whose rows must agree with the books; `ganglion prove` asks them all."""
    ours = costs.CostProofs(PLATFORM_ACCOUNT)
    return (payouts.PayoutProofs(), payments.PaymentProofs(), InvoiceProofs(), ours)


def assemble_worker(settings: Settings) -> WorkerParts:
    """The parts of a worker process; call it in the thread whose loop will use them."""
    ctx = system_ctx(settings)
    clouds = open_clouds(settings, ctx.clock)
    return WorkerParts(
        settings=settings,
        ctx=ctx,
        catalog=load_catalog(),
        clouds=clouds,
        payout_terms=payout_terms(settings, ctx.clock),
        payments=open_payments(settings, ctx.clock, public_url=settings.public_brain_url),
    )
