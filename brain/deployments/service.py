"""One function a verb of the owner: create, scale, stop, start, delete. The reconciler follows."""

from __future__ import annotations

from dataclasses import dataclass, field

from sqlalchemy import func, update
from sqlalchemy.exc import IntegrityError

from brain import billing
from brain.deployments import core, rollouts, scaling, store
from brain.deployments.models import Deployment, Replica
from brain.deployments.revisions import check_arguments, check_secrets
from brain.deployments.states import Asked, DeploymentState, ReplicaState
from brain.deployments.wishes import Wishes
from brain.identity import PLATFORM_ACCOUNT
from brain.plumbing import Ctx, Tx, changes, work
from catalog import Catalog, Template, use_of
from kernel.errors import BadInput, Conflict, OutOfCredit
from kernel.ids import AccountId, DeploymentId
from kernel.money import Money

REPLICAS_MAX = 64
REPLICAS_SHOWN = 2 * REPLICAS_MAX
DEPLOYMENTS_MAX = 200
PRICE_MAX = Money.usd("1000")


@dataclass(frozen=True)
class Wanted:
    """What the owner asks for. ``None`` takes the template's own."""

    model: str
    name: str | None = None
    replicas: int = 1
    price_max: Money | None = None
    gpu: str | None = None
    context: int | None = None
    concurrency: int | None = None
    pool: bool = False
    max_duration_seconds: int | None = None
    idle_stop_seconds: int | None = None
    budget: Money | None = None
    wishes: Wishes = field(default_factory=Wishes)
    secrets: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    max_surge: int = 1
    max_unavailable: int = 0
    progress_seconds: int | None = None
    drain_seconds: int | None = None
    scaling: dict[str, int | None] = field(default_factory=dict)  # by ``scaling.TERMS``


@dataclass(frozen=True)
class Whole:
    """A deployment with its replicas: those that live and those that ended of late."""

    deployment: Deployment
    replicas: list[Replica]

    @property
    def state(self) -> DeploymentState:
        row = self.deployment
        return core.derive(
            Asked(row.asked),
            row.replicas,
            row.broken_ns is not None,
            [ReplicaState(replica.state) for replica in self.replicas],
        )


async def create(
    tx: Tx, ctx: Ctx, catalog: Catalog, account_id: AccountId, wanted: Wanted
) -> Whole:
    """Write down what is asked. Raises ``NotFound``, ``BadInput``, ``Conflict``, ``OutOfCredit``.

    The first replica is placed by the reconciler, not here.
    """
    template = catalog.get(wanted.model)
    owner = PLATFORM_ACCOUNT if wanted.pool else account_id
    row = _row(ctx, template, owner, wanted)
    scaling.settle(row, wanted.scaling)
    if not wanted.pool and not await billing.can_spend(tx, owner):
        raise OutOfCredit("The account has no credit. Add credit, then deploy.")
    await _check_room(tx, owner, row.name)
    tx.add(row)
    try:
        await tx.flush()
    except IntegrityError as error:
        raise _name_taken(row.name, None) from error
    await rollouts.first(tx, ctx, row)
    await store.note(tx, ctx, row.deployment_id, "created", f"{template.id} was asked for")
    await changes.mark(tx, "deployment", row.deployment_id)
    return Whole(row, [])


async def scale(
    tx: Tx, ctx: Ctx, deployment_id: DeploymentId, account_id: AccountId, replicas: int
) -> Whole:
    """Ask for another number of replicas; zero is allowed. Closes an opened breaker, and ends
    scaling by load.

    ``Conflict`` when the deployment is stopped.
    """
    if not 0 <= replicas <= REPLICAS_MAX:
        raise BadInput(f"replicas must lie between 0 and {REPLICAS_MAX}.", param="replicas")
    row = await store.load(tx, deployment_id, [account_id], lock=True)
    if row.asked == Asked.STOPPED.value:
        raise Conflict("This deployment is stopped. Start it, then scale it.")
    row.replicas = replicas
    scaling.settle(row, ("replicas",))
    close_breaker(row)
    rollouts.renewed(ctx, row)
    await asked(tx, ctx, row, "scaled", f"{replicas} replicas were asked for")
    return await whole(tx, row)


async def stop(
    tx: Tx, ctx: Ctx, deployment_id: DeploymentId, account_id: AccountId, reason: str = "asked"
) -> Whole:
    """Ask for the stop: requests in flight end first. May be repeated."""
    row = await store.load(tx, deployment_id, [account_id], lock=True)
    if row.asked == Asked.RUNNING.value:
        ask_stop(ctx, row, reason)
        await asked(tx, ctx, row, "stop asked", reason)
    return await whole(tx, row)


async def start(tx: Tx, ctx: Ctx, deployment_id: DeploymentId, account_id: AccountId) -> Whole:
    """Ask a stopped or broken deployment to run again. May be repeated; ``OutOfCredit`` when the
    account has none."""
    row = await store.load(tx, deployment_id, [account_id], lock=True)
    if row.asked == Asked.STOPPED.value or row.broken_ns is not None:
        if not row.pool and not await billing.can_spend(tx, row.account_id):
            raise OutOfCredit("The account has no credit. Add credit, then start it.")
        row.asked = Asked.RUNNING.value
        row.asked_reason = "asked"
        row.asked_ns = ctx.clock.now_ns()
        close_breaker(row)
        rollouts.renewed(ctx, row)
        await asked(tx, ctx, row, "start asked", "asked")
    return await whole(tx, row)


async def delete(tx: Tx, ctx: Ctx, deployment_id: DeploymentId, account_id: AccountId) -> None:
    """Put a stopped deployment away; its events and bills stay. ``Conflict`` while it lives."""
    row = await store.load(tx, deployment_id, [account_id], lock=True)
    found = await whole(tx, row)
    if found.state is not DeploymentState.STOPPED:
        raise Conflict(
            f"This deployment is {found.state.value}. Stop it and wait until it is stopped."
        )
    row.deleted_at = ctx.clock.now()
    row.due_at = None
    await store.note(tx, ctx, row.deployment_id, "deleted", "asked")
    await changes.mark(tx, "deployment", row.deployment_id)


async def whole(tx: Tx, row: Deployment) -> Whole:
    """The deployment with all its live replicas and the newest of those that ended."""
    return Whole(row, await store.newest_replicas(tx, row.deployment_id, REPLICAS_SHOWN))


def ask_stop(ctx: Ctx, row: Deployment, reason: str) -> None:
    """Only the owner's word, or a standing order of the owner's, comes here."""
    row.asked = Asked.STOPPED.value
    row.asked_reason = reason[:500]
    row.asked_ns = ctx.clock.now_ns()


async def lease_changed(tx: Tx, ctx: Ctx, replica_id: str) -> None:
    """The fleet's nudge: what it sees of this replica's lease is news. May be lost."""
    await work.nudge(tx, Replica, replica_id, ctx.clock.now())


async def capacity_appeared(tx: Tx, ctx: Ctx) -> None:
    """A cloud has more to rent: who waits for a place looks at once. May be lost."""
    now = ctx.clock.now()
    await tx.execute(
        update(Replica)
        .where(
            Replica.state == ReplicaState.PENDING.value,
            Replica.stop_asked_ns.is_(None),
            Replica.attempts > 0,  # one that waits after a crash has not looked yet
        )
        .values(due_at=func.least(func.coalesce(Replica.due_at, now), now))
        .execution_options(synchronize_session=False)
    )


async def asked(tx: Tx, ctx: Ctx, row: Deployment, what: str, reason: str) -> None:
    """Keep what its owner asked, tell it, and let the reconciler look at once."""
    await tx.flush()
    await work.nudge(tx, Deployment, row.deployment_id, ctx.clock.now())
    await store.note(tx, ctx, row.deployment_id, what, reason)
    await changes.mark(tx, "deployment", row.deployment_id)


def close_breaker(row: Deployment) -> None:
    """A fresh ask of the owner is a fresh try."""
    row.broken_ns = None
    row.broken_reason = None


def check_price(price: Money) -> None:
    """``BadInput`` for a limit that nothing, or everything, is under."""
    if not 0 < price.nano <= PRICE_MAX.nano:
        raise BadInput(
            "max_price_usd_per_gpu_hour must be more than 0 and at most 1000.",
            param="max_price_usd_per_gpu_hour",
        )


def _row(ctx: Ctx, template: Template, owner: AccountId, wanted: Wanted) -> Deployment:
    use = use_of(template, context=wanted.context, concurrency=wanted.concurrency)
    if not 1 <= wanted.replicas <= REPLICAS_MAX:
        raise BadInput(f"replicas must lie between 1 and {REPLICAS_MAX}.", param="replicas")
    if wanted.price_max is not None:
        check_price(wanted.price_max)
    if wanted.max_surge == 0 and wanted.max_unavailable == 0:
        raise BadInput(
            "max_surge and max_unavailable cannot both be 0: nothing could move.",
            param="max_unavailable",
        )
    if wanted.budget is not None and wanted.budget.nano <= 0:
        raise BadInput("budget_usd must be more than 0.", param="budget_usd")
    pool = template.pool
    if wanted.pool and pool is None:
        raise BadInput(f"{template.id} has no pool price in the catalog.", param="pool")
    return Deployment(
        deployment_id=ctx.ids.new(DeploymentId),
        account_id=owner,
        name=wanted.name or template.id,
        model=template.id,
        kind=template.kind.value,
        pool=wanted.pool,
        rate_nano=pool.rate_nano if pool and wanted.pool else 0,
        ceiling_prompt_nano=pool.ceiling_prompt_nano if pool and wanted.pool else 0,
        ceiling_completion_nano=pool.ceiling_completion_nano if pool and wanted.pool else 0,
        gpu=wanted.gpu,
        context=use.context,
        concurrency=use.concurrency,
        asked=Asked.RUNNING.value,
        asked_reason="asked",
        asked_ns=ctx.clock.now_ns(),
        replicas=wanted.replicas,
        **wanted.scaling,
        scaling_seen={},
        price_max_nano=wanted.price_max.nano if wanted.price_max else None,
        max_duration_seconds=wanted.max_duration_seconds,
        idle_stop_seconds=wanted.idle_stop_seconds,
        budget_nano=wanted.budget.nano if wanted.budget else None,
        wishes=wanted.wishes.kept(),
        secrets=list(check_secrets(wanted.secrets)),
        arguments=list(check_arguments(template.engine, wanted.arguments)),
        revision=1,
        rollout_ns=ctx.clock.now_ns(),
        rollout_reason="",
        max_surge=wanted.max_surge,
        max_unavailable=wanted.max_unavailable,
        progress_seconds=wanted.progress_seconds,
        drain_seconds=wanted.drain_seconds,
        created_at=ctx.clock.now(),
        due_at=ctx.clock.now(),
    )


async def _check_room(tx: Tx, owner: AccountId, name: str) -> None:
    taken = await store.by_name(tx, owner, name)
    if taken is not None:
        raise _name_taken(name, taken.deployment_id)
    if len(await store.page(tx, owner, after=None, limit=DEPLOYMENTS_MAX)) >= DEPLOYMENTS_MAX:
        raise Conflict(f"The account has {DEPLOYMENTS_MAX} deployments. Delete some first.")


def _name_taken(name: str, by: DeploymentId | None) -> Conflict:
    whose = f" by {by}" if by else ""
    return Conflict(
        f"The name {name!r} is taken{whose}. Give another name, or stop and delete that one.",
        code="name_taken",
        param="name",
    )
