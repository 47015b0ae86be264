"""Who may send what: key, account, model, and how much to hold for it. Pure."""

from __future__ import annotations

import hashlib
from typing import TypeVar

from inference.body import Ask
from inference.errors import model_not_found
from inference.route import READY, Replica
from inference.slices import out_of_credit
from inference.snapshot import Account, Deployment, Tables
from kernel.clock import NS
from kernel.errors import Forbidden, NoCapacity, OutOfCredit, Unauthenticated, Unavailable
from kernel.money import CARRY_DIVISOR, HOUR_NS
from kernel.wire.gateway import DeploymentRow, KeyRow

SCOPE = "inference"
HOLD_SECONDS = 30
PER_TOKENS = 1000

LinksT = TypeVar("LinksT")


def authorise(
    tables: Tables[LinksT], authorization: bytes, wall_ns: int, *, connected: bool
) -> KeyRow:
    """The key that an ``Authorization`` header names.

    Raises ``Unauthenticated`` (401), ``Forbidden`` (403); ``Unavailable`` (503) for a key that is
    not known while the brain cannot be asked: it may be a new one.
    """
    if authorization[:7] != b"Bearer " and authorization[:7].lower() != b"bearer ":
        raise Unauthenticated(
            "You did not provide an API key. Send it as: Authorization: Bearer YOUR_KEY.",
            code="invalid_api_key",
        )
    digest = hashlib.sha256(authorization[7:].strip()).hexdigest()
    key = tables.keys.get(digest)
    if key is None:
        if not connected:
            raise Unavailable("Keys cannot be checked just now; try again.", retry_after=2)
        raise Unauthenticated("Incorrect API key provided.", code="invalid_api_key")
    if key.expires_at_ns and wall_ns >= key.expires_at_ns:
        raise Unauthenticated("This API key has expired.", code="expired_api_key")
    if SCOPE not in key.scopes:
        raise Forbidden(
            "This API key may not be used for inference: make one with the scope 'inference'.",
            code="missing_scope",
        )
    return key


def account_of(tables: Tables[LinksT], key: KeyRow) -> Account:
    """The key's account, when it and the key may spend."""
    if key.refused:
        raise OutOfCredit(key.refused, code="spending_limit")
    account = tables.accounts.get(key.account_id)
    if account is None:
        raise Unavailable("This account is not known here yet; try again.", retry_after=1)
    if account.row.stopped:
        raise out_of_credit()
    return account


def resolve(tables: Tables[LinksT], key: KeyRow, model: str) -> Deployment[LinksT]:
    """What ``model`` names: the account's own deployment, else the pool's, else 404."""
    found = tables.owned.get((key.account_id, model)) or tables.pool.get(model)
    if not found or (key.models is not None and not _key_allows(key, found[0].row, model)):
        raise model_not_found(model)
    for deployment in found:
        for replica in deployment.replicas:
            if replica.row.state is READY and not replica.gone:
                return deployment
    for deployment in found:
        if deployment.row.waits:  # a worker of it is on its way
            return deployment
    raise NoCapacity(
        f"The model {model[:200]!r} has no ready replica now; try again soon.",
        code="no_ready_replica",
        retry_after=5,
    )


def visible(tables: Tables[LinksT], key: KeyRow) -> list[tuple[str, Deployment[LinksT]]]:
    """The models that a key may use, by the name it would write, each name once."""
    models: dict[str, Deployment[LinksT]] = {}
    for deployment in tables.deployments.values():
        row = deployment.row
        if row.account_id == key.account_id and _key_allows(key, row, row.name):
            models.setdefault(row.name, deployment)
    for name, listed in tables.pool.items():
        for deployment in listed:
            if name == deployment.row.model and _key_allows(key, deployment.row, name):
                models.setdefault(name, deployment)
    return sorted(models.items(), key=lambda item: item[0])


def hold_nano(
    row: DeploymentRow, replica: Replica[LinksT], key: KeyRow, ask: Ask, sizes: tuple[int, int]
) -> int:
    """What to hold for a pool request: the least of three upper bounds.

    ``sizes``: the sequences that it runs, and the bytes of its body.
    """
    weight, body_bytes = sizes
    bounds = [piece_nano(row, replica.row.gpus)]
    if key.cost_limit_nano:
        bounds.append(key.cost_limit_nano)
    if ask.tokens_max is not None and (row.ceiling_prompt_nano or row.ceiling_completion_nano):
        # No prompt has more tokens than bytes.
        bounds.append(ceiling_nano(row, body_bytes, ask.tokens_max * weight))
    return min(bounds)


def piece_nano(row: DeploymentRow, gpus: int, lasts_ns: int = HOLD_SECONDS * NS) -> int:
    """What the whole replica costs for as long as one hold is meant to last."""
    return -(-row.rate_nano * gpus * lasts_ns // HOUR_NS)


def ceiling_nano(row: DeploymentRow, prompt_tokens: int, completion_tokens: int) -> int:
    """The most that so many tokens may cost."""
    total = (
        prompt_tokens * row.ceiling_prompt_nano + completion_tokens * row.ceiling_completion_nano
    )
    return -(-total // PER_TOKENS)


def cost_nano(row: DeploymentRow, ticks: int, tokens: tuple[int, int, bool] | None = None) -> int:
    """This gateway's upper bound of what ``ticks`` of GPU time cost, in whole nano-dollars."""
    by_time = -(-row.rate_nano * ticks // CARRY_DIVISOR)
    if tokens is None or tokens[2] or not (row.ceiling_prompt_nano or row.ceiling_completion_nano):
        return by_time
    return min(by_time, ceiling_nano(row, tokens[0], tokens[1]))


def _key_allows(key: KeyRow, row: DeploymentRow, name: str) -> bool:
    if key.models is None:
        return True
    return name in key.models or row.name in key.models or row.model in key.models
