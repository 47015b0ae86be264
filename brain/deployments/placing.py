"""Finds a replica its place: plan over the fleet's offers, then claim, bill and move as one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from brain import billing, fleet, offers, provisioning
from brain.deployments import core, store
from brain.deployments.models import Deployment, Replica
from brain.deployments.ports import NoOwnWork, OwnWork
from brain.deployments.recipes import EXPECTED_SECONDS, Recipe, recipe_of, told_of_clouds
from brain.deployments.states import Asked, ReplicaEvent, ReplicaState
from brain.deployments.wishes import wishes_of
from brain.plumbing import Ctx, Tx
from brain.scheduling import (
    Board,
    Candidate,
    Choice,
    Plan,
    PlanRequest,
    plan_together,
)
from brain.secrets import LeaseSecrets, Vault
from catalog import Catalog
from kernel.errors import Conflict, NoCapacity, NotFound, OutOfCredit
from kernel.ids import ReplicaId
from kernel.money import Money

CREDIT_AGAIN_SECONDS = 15


@dataclass(frozen=True)
class Places:
    """Where replicas may stand: what nodes and clouds offer, read for many plans at once."""

    ctx: Ctx
    lease_ttl_seconds: int
    market: offers.Market
    vault: Vault
    own_work: OwnWork = field(default_factory=NoOwnWork)
    images: provisioning.CloudImages = field(default_factory=provisioning.CloudImages)

    async def board(self) -> Board:
        return await self.market.board()

    def forget(self) -> None:
        """Somebody claimed: what was read is no longer so."""
        self.market.forget()


@dataclass(frozen=True)
class Around:
    """What a deployment's next worker must know: where one failed of late, where others run, by
    neighbourhood, and what is left to spend."""

    avoid: dict[str, str] = field(default_factory=dict)
    beside: Mapping[str, int] = field(default_factory=dict)
    budget_nano: int | None = None


def request_for(deployment: Deployment, recipe: Recipe, around: Around) -> PlanRequest:
    """What the planner is asked for a deployment. A budget is reckoned with where it is known how
    long the work lasts; else it ends the work when it is spent."""
    lasts = deployment.max_duration_seconds is not None
    request = wishes_of(deployment.wishes).ask(recipe.request, around.beside)
    return replace(
        request,
        gpu_names=frozenset({deployment.gpu}) if deployment.gpu else frozenset(),
        price_nano_max=deployment.price_max_nano,
        seconds=deployment.max_duration_seconds or EXPECTED_SECONDS,
        avoid=around.avoid,
        budget_nano=around.budget_nano if lasts else None,
    )


async def plan_batch(
    ctx: Ctx, catalog: Catalog, places: Places, rows: Sequence[Replica]
) -> dict[ReplicaId, Plan]:
    """Plans of replicas that wait at the same time, such that none takes what another needs more.

    A replica that is missing plans for itself: one alone, and one that may have to go back to a
    node on which it failed.
    """
    waiting = [r for r in rows if r.state == ReplicaState.PENDING.value and not r.stop_asked_ns]
    if len(waiting) < 2:
        return {}
    asked: dict[ReplicaId, PlanRequest] = {}
    async with ctx.db.begin() as tx:
        known: dict[str, PlanRequest | None] = {}
        for row in waiting:
            if row.deployment_id not in known:
                known[row.deployment_id] = await _asked(tx, ctx, catalog, places, row)
            request = known[row.deployment_id]
            if request is not None:
                asked[row.replica_id] = request
    plans = plan_together(await places.board(), list(asked.values()), ctx.clock.now_ns())
    return {
        replica_id: plan
        for (replica_id, request), plan in zip(asked.items(), plans, strict=True)
        if plan.chosen is not None or not request.avoid
    }


async def _asked(
    tx: Tx, ctx: Ctx, catalog: Catalog, places: Places, row: Replica
) -> PlanRequest | None:
    deployment = await store.find(tx, row.deployment_id)
    if deployment is None:
        return None
    try:
        recipe = told_of_clouds(await recipe_of(tx, catalog, deployment), places.images)
    except NotFound:  # its own step says so
        return None
    return request_for(deployment, recipe, await _around(tx, ctx, deployment))


async def place(
    ctx: Ctx,
    catalog: Catalog,
    places: Places,
    replica_id: ReplicaId,
    saved: store.Saved,
    planned: Plan | None = None,
) -> None:
    """One try. The replica ends CLAIMED, or still PENDING with the reason and a later due time.

    ``saved`` guards each write: it raises ``Stale`` when another took the row over. ``planned``
    was made together with others'.
    """
    async with ctx.db.begin() as tx:
        row = await store.replica(tx, replica_id)
        deployment = None if row is None else await store.find(tx, row.deployment_id)
        if row is None or deployment is None:
            return
        around = await _around(tx, ctx, deployment)
        recipe = told_of_clouds(await recipe_of(tx, catalog, deployment), places.images)
    plan = planned or await _plan(ctx, places, deployment, recipe, around)
    try:
        await _claim(ctx, places, recipe, plan, replica_id, saved)
    except (NoCapacity, Conflict) as lost:
        places.forget()
        await _wait(ctx, plan, replica_id, saved, lost.detail)
    except OutOfCredit as broke:
        await _wait(ctx, plan, replica_id, saved, broke.detail, CREDIT_AGAIN_SECONDS)


async def _plan(
    ctx: Ctx, places: Places, deployment: Deployment, recipe: Recipe, around: Around
) -> Plan:
    """Nodes on which it failed of late are used only when nothing else will do."""
    board = await places.board()
    now_ns = ctx.clock.now_ns()
    plan = board.plan(request_for(deployment, recipe, around), now_ns)
    if plan.chosen is None and around.avoid:
        free = replace(around, avoid={})
        return board.plan(request_for(deployment, recipe, free), now_ns)
    return plan


async def _around(tx: Tx, ctx: Ctx, deployment: Deployment) -> Around:
    left = None
    if deployment.budget_nano is not None:
        spent = await billing.spending(tx, deployment.deployment_id)
        left = max(0, deployment.budget_nano - spent.nano) // max(1, deployment.replicas)
    since_ns = ctx.clock.now_ns() - core.CRASH_WINDOW_NS
    rows = await store.replicas(tx, deployment.deployment_id, since_ns=since_ns)
    placed = [row for row in rows if row.node_id is not None]
    rented = await provisioning.places(tx, [row.replica_id for row in placed]) if placed else {}
    where = {row.replica_id: rented.get(row.replica_id, str(row.node_id)) for row in placed}
    avoid = {
        where[row.replica_id]: f"A worker failed there: {row.state_reason}"
        for row in placed
        if row.crashes and row.crashed_ns is not None and row.crashed_ns > since_ns
    }
    beside = Counter(where[row.replica_id] for row in placed if row.ended_ns is None)
    return Around(avoid, beside, left)


async def _claim(
    ctx: Ctx,
    places: Places,
    recipe: Recipe,
    plan: Plan,
    replica_id: ReplicaId,
    saved: store.Saved,
) -> None:
    """Lease, bill and state in one transaction; ``NoCapacity`` when there is no place."""
    if plan.chosen is None:
        raise NoCapacity(plan.summary)
    async with ctx.db.begin() as tx:
        row, deployment = await store.held_replica(tx, replica_id)
        if row.state != ReplicaState.PENDING.value or row.stop_asked_ns is not None:
            return
        if deployment.asked != Asked.RUNNING.value:
            return  # the deployment's own step is about to say so to this replica
        if row.revision != deployment.revision:
            await saved(tx, row, core.again_seconds(ReplicaState.PENDING))
            return  # another revision was asked for since; the deployment's own step ends this one
        given = await places.vault.opened(tx, deployment.account_id, deployment.secrets)
        pod_id = deployment.own_launch["pod_id"] if deployment.own_launch is not None else None
        if pod_id is not None:
            await places.own_work.claiming(tx, pod_id, plan.chosen.offer.node_id)
        lease = await _open(tx, places, recipe, deployment, row, plan.chosen)
        if given:
            await places.vault.give(tx, lease.lease_id, LeaseSecrets(given))
        if pod_id is not None:
            await places.own_work.claimed(tx, pod_id, lease)
        await ctx.reach("deployments.claimed")
        row.lease_id, row.epoch, row.node_id = lease.lease_id, lease.epoch, lease.node_id
        row.gpus = plan.chosen.gpus
        row.attempts += 1
        row.waiting_reason = ""
        await store.move_replica(tx, ctx, row, ReplicaEvent.CLAIM, plan.summary)
        await _keep_plan(tx, ctx, row, deployment, plan, plan.summary)
        await saved(tx, row, core.again_seconds(ReplicaState.CLAIMED))
        await ctx.reach("deployments.claim_saving")
    await ctx.reach("deployments.claim_saved")


async def _open(
    tx: Tx,
    places: Places,
    recipe: Recipe,
    deployment: Deployment,
    row: Replica,
    chosen: Choice,
) -> fleet.LeaseView:
    if chosen.offer.cloud:
        return await _rent(tx, places, recipe, deployment, row, chosen)
    return await fleet.claim(
        tx,
        fleet.Claim(
            replica_id=row.replica_id,
            deployment_id=row.deployment_id,
            node_id=chosen.node_id,
            gpu_count=chosen.gpus,
            launch=recipe.launch(chosen.gpus),
            payer=deployment.account_id,
            vram_mib=chosen.offer.vram_mib,
            price_nano_max=chosen.offer.price_nano,
            mode=recipe.mode,
            pool_rate_nano=deployment.rate_nano,
            ceiling_prompt_nano=deployment.ceiling_prompt_nano,
            ceiling_completion_nano=deployment.ceiling_completion_nano,
            ttl_seconds=places.lease_ttl_seconds,
        ),
        now_ns=places.ctx.clock.now_ns(),
        ids=places.ctx.ids,
    )


async def _rent(
    tx: Tx,
    places: Places,
    recipe: Recipe,
    deployment: Deployment,
    row: Replica,
    chosen: Choice,
) -> fleet.LeaseView:
    """The claim of a machine that is yet to be rented is the wish for it."""
    return await provisioning.rent(
        tx,
        provisioning.Rent(
            replica_id=row.replica_id,
            deployment_id=row.deployment_id,
            cloud=chosen.offer.cloud,
            offer_key=chosen.offer.offer_key,
            gpu_count=chosen.gpus,
            launch=recipe.launch(chosen.gpus),
            payer=deployment.account_id,
            vram_mib=recipe.vram_mib(chosen.gpus),
            model=recipe.request.model,
            price_nano_max=_dearest(deployment, chosen),
            mode=recipe.mode,
            pool_rate_nano=deployment.rate_nano,
            ceiling_prompt_nano=deployment.ceiling_prompt_nano,
            ceiling_completion_nano=deployment.ceiling_completion_nano,
            ttl_seconds=places.lease_ttl_seconds,
            disk_gib=recipe.request.storage_gib,
            agentless=recipe.agentless,
            ssh_keys=await _ssh_keys(tx, places, recipe),
        ),
        now_ns=places.ctx.clock.now_ns(),
        ids=places.ctx.ids,
    )


async def _ssh_keys(tx: Tx, places: Places, recipe: Recipe) -> tuple[str, ...]:
    """Of whoever may enter a machine on which no agent of ours lets anybody in."""
    if recipe.own is None or not (recipe.agentless and recipe.own.launch.shell):
        return ()
    return await places.own_work.ssh_keys(tx, recipe.own.pod_id)


def _dearest(deployment: Deployment, chosen: Choice) -> int:
    """The price that the plan saw, and never more than the owner allows."""
    limit = deployment.price_max_nano
    seen = chosen.offer.price_nano
    return seen if limit is None else min(seen, limit)


async def _wait(
    ctx: Ctx,
    plan: Plan,
    replica_id: ReplicaId,
    saved: store.Saved,
    reason: str,
    seconds: float | None = None,
) -> None:
    """Nothing was claimed: say why, and look again a little later."""
    async with ctx.db.begin() as tx:
        row, deployment = await store.held_replica(tx, replica_id)
        tries = core.PLACE_AGAIN_SECONDS
        again = seconds or tries[min(row.attempts, len(tries) - 1)]
        row.attempts += 1
        if row.waiting_reason != reason:
            row.waiting_reason = reason[:1000]
            await store.note(tx, ctx, row.deployment_id, "replica waiting", reason, row.replica_id)
        await _keep_plan(tx, ctx, row, deployment, plan, reason)
        await saved(tx, row, again)


async def _keep_plan(
    tx: Tx, ctx: Ctx, row: Replica, deployment: Deployment, plan: Plan, outcome: str
) -> None:
    price = deployment.price_max_nano
    await store.save_placement(
        tx,
        {
            "deployment_id": row.deployment_id,
            "replica_id": row.replica_id,
            "at_ns": ctx.clock.now_ns(),
            "outcome": outcome,
            "asked": {
                "model": deployment.model,
                "gpu": deployment.gpu,
                "context": deployment.context,
                "concurrency": deployment.concurrency,
                "max_price_usd_per_gpu_hour": None if price is None else plain(price),
            },
            "candidates": [show_candidate(c) for c in plan.why.candidates],
            "candidate_count": plan.why.offers,
        },
    )


def show_candidate(candidate: Candidate) -> dict[str, Any]:
    """One offer as people see it, with its reasons."""
    offer = candidate.offer
    return {
        "node_id": offer.node_id,
        "node_name": offer.node_name,
        "cloud": offer.cloud,
        "region": offer.region,
        "gpu_name": offer.gpu_name,
        "vram_mib": offer.vram_mib,
        "free": offer.free,
        "total": offer.total,
        "price_usd_per_gpu_hour": plain(offer.price_nano),
        "simulated": offer.simulated,
        "ok": candidate.ok,
        "gpus": candidate.gpus,
        "expected_cost_usd": None if candidate.score is None else plain(candidate.score),
        "reasons": list(candidate.reasons),
    }


def plain(nano: int) -> str:
    """Dollars as a plain decimal: no sign, no thousands' commas."""
    return str(Money(nano)).replace("$", "").replace(",", "")
