"""The tables: whatever order rows come in, the end is the same; old epochs change nothing."""

from __future__ import annotations

import random

import pytest

from inference.snapshot import Tables, check
from kernel.errors import BadInput
from kernel.wire.digest import snapshot_digest
from kernel.wire.gateway import AccountRow, ChangeLine, KeyRow, LinkRow, ReplicaState, Snapshot
from tests.support.gateway import (
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


def tables(start: Snapshot | None = None) -> Tables[LinkRow]:
    made: Tables[LinkRow] = Tables(lambda row: row.link)
    if start is not None:
        made.replace(start)
    return made


def whole() -> Snapshot:
    start = snapshot(1, 2)
    start.deployments.append(deployment_row("p", 2, account_id=PLATFORM, pool=True))
    start.replicas.append(replica_row(3, 3, 2))
    start.keys.append(key_row(OTHER_KEY, OTHER))
    start.accounts.append(AccountRow(OTHER))
    return start


def test_the_digest_is_the_senders() -> None:
    assert tables(whole()).digest() == snapshot_digest(whole())


@pytest.mark.parametrize("seed", range(20))
def test_rows_may_come_in_any_order(seed: int) -> None:
    start = whole()
    lines = [ChangeLine(key=row) for row in start.keys]
    lines += [ChangeLine(account=row) for row in start.accounts]
    lines += [ChangeLine(deployment=row) for row in start.deployments]
    lines += [ChangeLine(replica=row) for row in start.replicas]
    random.Random(seed).shuffle(lines)
    made = tables()
    for line in lines:
        made.apply(line)
    assert made.digest() == snapshot_digest(start)
    assert len(made.owned[(OWNER, "m")][0].replicas) == 2
    assert len(made.pool["org/p"][0].replicas) == 1


def test_a_second_snapshot_drops_what_it_lacks() -> None:
    made = tables(whole())
    made.replace(snapshot(1))
    assert made.digest() == snapshot_digest(snapshot(1))
    assert not made.pool["org/p"]


def test_live_state_survives_a_new_snapshot() -> None:
    made = tables(snapshot(1, 2))
    first = made.replicas[numbered("rep", 1)]
    first.in_flight = 3
    made.replace(snapshot(1, 2))
    assert made.replicas[numbered("rep", 1)] is first


def test_what_a_worker_said_of_another_model_is_forgotten() -> None:
    made = tables(whole())
    (deployment,) = made.owned[(OWNER, "m")]
    deployment.card, deployment.card_of = {"max_model_len": 9}, deployment.replicas[0]
    made.put_deployment(deployment_row("m", rate_nano=1))
    assert deployment.card == {"max_model_len": 9}
    made.put_deployment(deployment_row("m", model="org/other"))
    assert (deployment.card, deployment.card_of) == (None, None)


def test_an_older_epoch_changes_nothing() -> None:
    made = tables(snapshot(1))
    made.apply(ChangeLine(replica=replica_row(5, 1, epoch=4)))
    made.apply(ChangeLine(replica=replica_row(6, 1, epoch=3)))
    made.apply(ChangeLine(drop_replica=numbered("rep", 1)))
    made.apply(ChangeLine(replica=replica_row(7, 1, epoch=3)))
    assert not made.replicas


def test_epochs_of_replicas_long_gone_are_forgotten_and_of_no_others() -> None:
    chance = random.Random(5)
    made: Tables[LinkRow] = Tables(lambda row: row.link, gone_max=10)
    made.apply(ChangeLine(replica=replica_row(1, 1, epoch=7)))  # this one stays
    for number in range(2, 500):
        made.apply(ChangeLine(replica=replica_row(2, number, epoch=7)))
        made.apply(ChangeLine(drop_replica=numbered("rep", number)))
        one = chance.choice([1, *range(max(2, number - 9), number + 1)])
        made.apply(ChangeLine(replica=replica_row(3, one, epoch=6)))  # old news of it
        assert list(made.replicas) == [numbered("rep", 1)]
        assert made.replicas[numbered("rep", 1)].row.epoch == 7
        assert len(made._epochs) == min(number, 11)
    made.apply(ChangeLine(replica=replica_row(4, 499, epoch=8)))  # it comes back by a new lease
    for number in range(500, 530):
        made.apply(ChangeLine(replica=replica_row(2, number, epoch=7)))
        made.apply(ChangeLine(drop_replica=numbered("rep", number)))
    made.apply(ChangeLine(replica=replica_row(3, 499, epoch=6)))
    assert {one.row.epoch for one in made.replicas.values()} == {7, 8}


def test_a_new_lease_is_another_worker() -> None:
    made = tables(snapshot(1))
    old = made.replicas[numbered("rep", 1)]
    made.apply(ChangeLine(replica=replica_row(5, 1, epoch=2)))
    assert old.gone
    assert [one.links.port for one in made.owned[(OWNER, "m")][0].replicas] == [5]


def test_draining_is_the_same_worker() -> None:
    made = tables(snapshot(1))
    old = made.replicas[numbered("rep", 1)]
    made.apply(ChangeLine(replica=replica_row(1, 1, state=ReplicaState.DRAINING)))
    assert made.replicas[numbered("rep", 1)] is old
    assert not old.ready


def test_a_renamed_deployment_is_found_by_its_new_name_only() -> None:
    made = tables(snapshot(1))
    made.apply(ChangeLine(deployment=deployment_row("new")))
    assert not made.owned[(OWNER, "m")]
    assert made.owned[(OWNER, "new")]


def test_a_revoked_key_is_gone() -> None:
    made = tables(snapshot(1))
    made.apply(ChangeLine(drop_key=key_row().key_id))
    assert not made.keys


@pytest.mark.parametrize(
    "wrong",
    [
        Snapshot(keys=[key_row()]),
        Snapshot(keys=[KeyRow("key_1", "short", OWNER)], accounts=[AccountRow(OWNER)]),
        Snapshot(deployments=[deployment_row()]),
        Snapshot(replicas=[replica_row(1)]),
        snapshot(0),
    ],
)
def test_a_snapshot_file_with_a_fault_is_refused(wrong: Snapshot) -> None:
    with pytest.raises(BadInput):
        check(wrong)
