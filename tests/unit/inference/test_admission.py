"""Who may send what, what `model` names, and what is held for it."""

from __future__ import annotations

import msgspec
import pytest

from inference import admission, body
from inference.route import Replica
from inference.routes import CHAT
from inference.snapshot import Tables
from kernel.clock import NS
from kernel.errors import GanglionError, OutOfCredit
from kernel.wire.gateway import AccountRow, ChangeLine, LinkRow, ReplicaState
from tests.support.gateway import (
    KEY,
    OTHER,
    OTHER_KEY,
    OWNER,
    PLATFORM,
    deployment_row,
    key_row,
    numbered,
    replica_row,
    snapshot,
)


def tables() -> Tables[LinkRow]:
    """OWNER has ``m``; the pool has org/m, org/p; OTHER has nothing."""
    start = snapshot(1)
    start.accounts.append(AccountRow(OTHER))
    start.keys.append(key_row(OTHER_KEY, OTHER))
    pool = {"account_id": PLATFORM, "pool": True}
    start.deployments += [
        deployment_row("pool-m", 2, **{**pool, "model": "m"}),
        deployment_row("pool-p", 3, **{**pool, "model": "p"}),
    ]
    start.replicas += [replica_row(2, 2, 2), replica_row(3, 3, 3)]
    made: Tables[LinkRow] = Tables(lambda row: row.link)
    made.replace(start)
    return made


def refusal(header: bytes, *, connected: bool = True, wall_ns: int = 0, **key: object) -> int:
    made = tables()
    if key:
        made.apply(ChangeLine(key=key_row(**key)))
    try:
        admission.authorise(made, header, wall_ns, connected=connected)
    except GanglionError as error:
        return error.status
    return 200


BEARER = f"Bearer {KEY}".encode()


@pytest.mark.feature("I3")
@pytest.mark.parametrize(
    ("header", "status"),
    [
        (BEARER, 200),
        (BEARER.replace(b"Bearer", b"bearer"), 200),
        (b"", 401),
        (b"Basic abc", 401),
        (KEY.encode(), 401),
        (b"Bearer " + b"x" * 5000, 401),
        (b"Bearer ", 401),
        (BEARER + b"x", 401),
    ],
)
def test_the_key_is_judged_by_its_digest(header: bytes, status: int) -> None:
    assert refusal(header) == status


@pytest.mark.feature("I3")
def test_an_expired_key_is_no_key() -> None:
    assert refusal(BEARER, wall_ns=5, expires_at_ns=5) == 401
    assert refusal(BEARER, wall_ns=4, expires_at_ns=5) == 200


@pytest.mark.feature("G6")
def test_a_key_at_its_limit_may_not_spend() -> None:
    made = tables()
    key = msgspec.structs.replace(key_row(OTHER_KEY, OTHER), refused="The limit is reached.")
    assert admission.account_of(made, key_row(OTHER_KEY, OTHER))
    with pytest.raises(OutOfCredit, match="The limit is reached"):
        admission.account_of(made, key)


@pytest.mark.feature("I3")
def test_a_key_without_the_scope_is_forbidden() -> None:
    assert refusal(BEARER, scopes=["read", "write", "admin"]) == 403


def test_an_unknown_key_is_never_refused_while_the_brain_is_away() -> None:
    assert refusal(b"Bearer new", connected=False) == 503
    assert refusal(BEARER, connected=False) == 200


def named(model: str, secret: str = KEY, **key: object) -> str:
    made = tables()
    account = OWNER if secret == KEY else OTHER
    row = key_row(secret, account, **key)
    try:
        return admission.resolve(made, row, model).row.name
    except GanglionError as error:
        return error.error_code


@pytest.mark.feature("A20")
def test_model_names_the_accounts_own_deployment_first_then_the_pool() -> None:
    assert named("m") == "m"
    assert named(numbered("dep", 1)) == "m"
    assert named("m", OTHER_KEY) == "pool-m"
    assert named("p") == "pool-p"


@pytest.mark.feature("A20")
@pytest.mark.parametrize("model", ["", "nothing", "org/m", numbered("dep", 1), "é" * 300])
def test_what_is_not_there_or_not_ours_is_not_found(model: str) -> None:
    assert named(model, OTHER_KEY) == "model_not_found"


def test_a_key_for_some_models_finds_only_those() -> None:
    assert named("p", models=["p"]) == "pool-p"
    assert named("m", models=["p"]) == "model_not_found"


def test_a_deployment_without_a_ready_replica_is_no_capacity() -> None:
    made = tables()
    made.apply(ChangeLine(replica=replica_row(1, 1, state=ReplicaState.DRAINING)))
    with pytest.raises(GanglionError) as caught:
        admission.resolve(made, key_row(), "m")
    assert (caught.value.status, caught.value.retry_after) == (503, 5)


@pytest.mark.feature("D6")
def test_a_deployment_whose_worker_is_on_its_way_is_waited_for() -> None:
    made = tables()
    made.apply(ChangeLine(drop_replica=next(iter(made.replicas))))
    made.apply(ChangeLine(deployment=deployment_row(waits=True)))
    assert admission.resolve(made, key_row(), "m").row.waits


@pytest.mark.feature("A7")
def test_a_list_shows_what_the_key_may_use_and_no_more() -> None:
    made = tables()
    assert [name for name, _ in admission.visible(made, key_row())] == ["m", "p"]
    assert [name for name, _ in admission.visible(made, key_row(models=["p"]))] == ["p"]


def test_a_stopped_account_is_out_of_credit() -> None:
    made = tables()
    made.apply(ChangeLine(account=AccountRow(OWNER, stopped=True)))
    with pytest.raises(GanglionError) as caught:
        admission.account_of(made, key_row())
    assert (caught.value.status, caught.value.error_code) == (402, "insufficient_quota")


HOUR_NANO = 3_600_000_000_000


@pytest.mark.parametrize(
    ("ceilings", "limit", "request_body", "held"),
    [
        ((0, 0), 0, b'{"model":"p"}', 60 * 10**9),
        ((0, 0), 77, b'{"model":"p"}', 77),
        ((1000, 2000), 0, b'{"model":"p","max_tokens":10}', 29 + 20),
        ((1000, 2000), 0, b'{"model":"p"}', 60 * 10**9),
        ((1000, 2000), 0, b'{"model":"p","max_tokens":10,"n":3}', 35 + 60),
    ],
)
def test_the_hold_is_the_least_of_three(
    ceilings: tuple[int, int], limit: int, request_body: bytes, held: int
) -> None:
    row = deployment_row(
        rate_nano=HOUR_NANO,
        ceiling_prompt_nano=ceilings[0],
        ceiling_completion_nano=ceilings[1],
    )
    replica = Replica(row=replica_row(1, gpus=2), links=None)
    ask = body.read(request_body, CHAT)
    key, size = key_row(cost_limit_nano=limit), len(request_body)
    assert admission.hold_nano(row, replica, key, ask, (ask.weight(()), size)) == held


def test_the_local_cost_is_an_upper_bound_and_obeys_the_ceiling() -> None:
    row = deployment_row(rate_nano=HOUR_NANO, ceiling_completion_nano=1000)
    second = NS << 20
    assert admission.cost_nano(row, second) == 10**9
    assert admission.cost_nano(row, second, (5, 7, False)) == 7
    assert admission.cost_nano(row, second, (5, 7, True)) == 10**9
    assert admission.cost_nano(row, 0) == 0
