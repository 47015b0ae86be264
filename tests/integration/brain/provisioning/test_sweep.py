"""Looks at whole accounts: what waits, what goes, and what holds destruction back."""

from __future__ import annotations

import pytest
from sqlalchemy import text

from brain.provisioning import core, store
from brain.provisioning.strays import QUARANTINE_NS
from kernel.clock import NS
from kernel.ids import IntentId
from standins.clouds.faults import FaultKind, Operation
from standins.clouds.machine import Machine, Rental, State
from tests.support.clouds import INSTALLATION, Sky

YOUNG_SECONDS = 130
QUARANTINE_SECONDS = QUARANTINE_NS // NS


def rented(sky: Sky, tag: str) -> Machine:
    """A machine that nobody's intent knows."""
    key = next(iter(sky.world.stocks))
    return sky.world.create(Rental(key, tag=tag))


def tagged(sky: Sky, number: int = 1) -> Machine:
    """One of an intent that was wished for before all that the database knows."""
    lost = IntentId(f"intent_{number:032x}")
    return rented(sky, core.tag_of(INSTALLATION, lost, 1))


async def swept(sky: Sky, seconds: float = 0) -> None:
    sky.clock.advance(seconds)
    await sky.sweep()


async def unknown(sky: Sky) -> list[str]:
    async with sky.ctx.db.begin() as tx:
        return [row.state for row in await store.unknowns(tx)]


async def alerts(sky: Sky) -> set[str]:
    async with sky.ctx.db.begin() as tx:
        return {alert.kind for alert in await store.open_alerts(tx)}


@pytest.mark.feature("B7")
async def test_a_machine_of_nobody_waits_in_quarantine_and_goes(sky: Sky) -> None:
    machine = tagged(sky)
    await swept(sky)
    assert await unknown(sky) == []  # it is too young to judge
    await swept(sky, YOUNG_SECONDS)
    assert (await unknown(sky), await alerts(sky)) == (["quarantined"], {"unknown"})
    await swept(sky, QUARANTINE_SECONDS - 10)
    assert machine.state is State.RUNNING
    await swept(sky, 20)
    sky.clock.advance(5)
    assert sky.world.alive() == []
    await swept(sky, 300)
    assert (await unknown(sky), await alerts(sky)) == ([], set())


@pytest.mark.feature("B7")
@pytest.mark.parametrize(
    "tag", ["", "a-notebook", "gng-000000000000-" + "0" * 32 + "-1", "gng-", "x" * 60]
)
async def test_other_tags_are_never_touched(sky: Sky, tag: str) -> None:
    rented(sky, tag)
    for _ in range(4):
        await swept(sky, QUARANTINE_SECONDS)
    assert len(sky.world.alive()) == 1
    assert await unknown(sky) == []


@pytest.mark.feature("B7")
@pytest.mark.parametrize("kind", [FaultKind.HALF, FaultKind.HTML, FaultKind.UNAUTHORIZED])
async def test_a_list_that_was_not_complete_destroys_nothing(sky: Sky, kind: FaultKind) -> None:
    tagged(sky)
    await swept(sky, YOUNG_SECONDS)
    await swept(sky, YOUNG_SECONDS)
    sky.fail(kind, Operation.LIST, next=1000)
    await swept(sky, QUARANTINE_SECONDS)
    await swept(sky, QUARANTINE_SECONDS)
    assert len(sky.world.alive()) == 1
    assert await unknown(sky) == ["quarantined"]


@pytest.mark.feature("B7")
async def test_many_unknown_at_once_freeze_destruction_until_a_person_looked(sky: Sky) -> None:
    for number in range(4):
        tagged(sky, number + 1)
    for _ in range(3):
        await swept(sky, QUARANTINE_SECONDS)
    assert len(sky.world.alive()) == 4
    assert "frozen" in await alerts(sky)
    async with sky.ctx.db.begin() as tx:
        from brain.provisioning.sweep import unfreeze

        account = await store.account(tx, "runpod", sky.clock.now_ns(), lock=True)
        await unfreeze(tx, account, sky.clock.now_ns())
    await swept(sky)
    sky.clock.advance(5)
    assert sky.world.alive() == []


@pytest.mark.feature("B7")
async def test_orders_that_the_database_forgot_freeze_destruction(sky: Sky) -> None:
    """A backup was loaded: the cloud knows of a newer order than the intent's row."""
    await sky.serving()
    intent = await sky.intent()
    tag = core.tag_of(INSTALLATION, intent.intent_id, intent.attempt + 1)
    rented(sky, tag)
    for _ in range(3):
        await swept(sky, QUARANTINE_SECONDS)
    assert len(sky.world.alive()) == 2
    assert "frozen" in await alerts(sky)


async def test_another_database_freezes_destruction(sky: Sky) -> None:
    tagged(sky)
    await swept(sky, YOUNG_SECONDS)
    async with sky.ctx.db.begin() as tx:
        await tx.execute(text("UPDATE cloud_account SET database_mark = 'another'"))
    for _ in range(2):
        await swept(sky, QUARANTINE_SECONDS)
    assert len(sky.world.alive()) == 1


async def test_credentials_taken_away_with_machines_standing_are_told(sky: Sky) -> None:
    await sky.serving()
    sky.clouds.clear()
    await sky.sweep()
    async with sky.ctx.db.begin() as tx:
        [account] = await store.accounts(tx)
    assert account.state == "missing"
    assert await alerts(sky) == {"account"}
