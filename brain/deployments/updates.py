"""The owner's verbs on what runs: change it, and go back. The reconciler rolls it out."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from brain.deployments import rollouts, scaling, service, store
from brain.deployments.models import Deployment
from brain.deployments.revisions import (
    Settings,
    check_arguments,
    check_secrets,
    settings_of,
)
from brain.deployments.service import REPLICAS_MAX, Whole, check_price
from brain.deployments.wishes import wishes_of
from brain.plumbing import Ctx, Tx
from catalog import Catalog, use_of
from kernel.errors import BadInput
from kernel.ids import AccountId, DeploymentId
from kernel.money import Money


@dataclass(frozen=True)
class Change:
    """What its owner changes, by the names of ``revisions.Settings`` and of the row's columns.

    ``settings`` make a new revision, ``terms`` hold at once. What is not named stays.
    """

    settings: dict[str, Any] = field(default_factory=dict)
    terms: dict[str, Any] = field(default_factory=dict)
    wishes: dict[str, Any] = field(default_factory=dict)


async def update(
    tx: Tx,
    ctx: Ctx,
    catalog: Catalog,
    deployment_id: DeploymentId,
    account_id: AccountId,
    change: Change,
) -> Whole:
    """Write down the change. A changed setting makes a revision, which supersedes a rollout that
    is under way. May be repeated: what is so already changes nothing.

    Raises ``NotFound``, ``BadInput``, ``Conflict``.
    """
    row = await store.load(tx, deployment_id, [account_id], lock=True)
    wanted = _wanted(catalog, row, change)
    _set_terms(row, change.terms)
    if change.terms.get("drain_seconds") is not None:
        await store.set_drain(tx, row.deployment_id, change.terms["drain_seconds"])
    said = ", ".join(sorted({*change.settings, *change.wishes, *change.terms}))
    if await rollouts.ask(tx, ctx, row, wanted):
        service.close_breaker(row)
        said = f"revision {row.revision}: {said}"
    rollouts.renewed(ctx, row)
    await service.asked(tx, ctx, row, "changed", said)
    return await service.whole(tx, row)


async def roll_back(
    tx: Tx,
    ctx: Ctx,
    catalog: Catalog,
    deployment_id: DeploymentId,
    account_id: AccountId,
    number: int | None,
) -> Whole:
    """Go back to the last good revision, or to ``number``; rolled out as any other change.

    Raises ``Conflict`` when there is none, ``NotFound`` for one that is not kept or whose model
    left the catalog.
    """
    row = await store.load(tx, deployment_id, [account_id], lock=True)
    before = row.revision
    number = await rollouts.go_back(tx, ctx, row, number)
    catalog.get(row.model)
    service.close_breaker(row)
    row.rollout_reason = ""
    said = f"from revision {before} back to {number}"
    await service.asked(tx, ctx, row, "rollback asked", said)
    return await service.whole(tx, row)


def _wanted(catalog: Catalog, row: Deployment, change: Change) -> Settings:
    """The settings as they shall be, checked as a new deployment's are."""
    now = settings_of(row)
    given = dict(change.settings)
    template = catalog.get(given.get("model") or now.model)
    if template.kind.value != row.kind:
        raise BadInput(
            f"{template.id} is a model of kind {template.kind.value}; clients of {row.name} use"
            f" it as {row.kind}. Deploy it under another name.",
            param="model",
        )
    if row.pool and template.id != row.model:
        raise BadInput("The model of a deployment in the pool stays what it is.", param="model")
    same = template.id == now.model
    kept = (now.context, now.concurrency) if same else (None, None)
    use = use_of(
        template,
        context=given.get("context", kept[0]),
        concurrency=given.get("concurrency", kept[1]),
    )
    given |= {"model": template.id, "context": use.context, "concurrency": use.concurrency}
    given["secrets"] = check_secrets(given.get("secrets", now.secrets))
    given["arguments"] = check_arguments(template.engine, given.get("arguments", now.arguments))
    if given.get("price_max_nano") is not None:
        check_price(Money(given["price_max_nano"]))
    wishes = replace(wishes_of(now.wishes), **change.wishes).kept()
    return replace(now, **given, wishes=wishes)


def _set_terms(row: Deployment, terms: dict[str, Any]) -> None:
    """What holds at once, for the workers that run as well."""
    for name, value in terms.items():
        setattr(row, name, value)
    scaling.settle(row, terms)
    if not 0 <= row.replicas <= REPLICAS_MAX:
        raise BadInput(f"replicas must lie between 0 and {REPLICAS_MAX}.", param="replicas")
    if row.max_surge == 0 and row.max_unavailable == 0:
        raise BadInput(
            "max_surge and max_unavailable cannot both be 0: nothing could move.",
            param="max_unavailable",
        )
    if row.budget_nano is not None and row.budget_nano <= 0:
        raise BadInput("budget_usd must be more than 0.", param="budget_usd")
