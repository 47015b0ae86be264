"""Maintenance windows through the public API: no new work, no eviction, renters told, the score."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any

import httpx
import pytest
from sqlalchemy import select

from brain import fleet, trust
from brain.app import create_app
from brain.fleet import LeaseView
from brain.plumbing import Ctx, Tx
from brain.trust import Notice, TrustTerms
from brain.trust.models import MaintenanceTold
from cli.commands.trust import recomputed
from kernel.clock import ManualClock
from kernel.errors import NoCapacity
from kernel.ids import DeploymentId, ReplicaId
from tests.support.brain import (
    Somebody,
    logged_in,
    quick_passwords,
    running,
    settings_for_tests,
    signed_up,
)
from tests.support.fleet import LAUNCH, Agent, Rig, brain_front

pytestmark = pytest.mark.feature("C6")
NOTICE = 4 * 3600
SHORT = 30  # seconds; the life of a lease that nobody renews


class Heard(trust.NoRenters):
    """Remembers what renters were told."""

    def __init__(self) -> None:
        self.notices: list[Notice] = []

    async def tell(self, tx: Tx, notice: Notice) -> None:
        self.notices.append(notice)


class Provider:
    """A provider with one node, speaking to the public API."""

    def __init__(self, rig: Rig, agent: Agent, client: httpx.AsyncClient, who: Somebody) -> None:
        self.rig, self.agent, self.client, self.who = rig, agent, client, who
        self.path = f"/api/v1/provider/nodes/{agent.node_id}/maintenance"

    async def announce(self, begin: float, end: float, **more: Any) -> httpx.Response:
        """Hours from now."""
        now = self.rig.clock.now()
        body = {
            "from": (now + timedelta(hours=begin)).isoformat(),
            "until": (now + timedelta(hours=end)).isoformat(),
            **more,
        }
        return await self.client.post(self.path, json=body, headers=self.who.headers)

    async def withheld(self) -> str:
        return (await fleet.offers(self.rig.ctx, [self.agent.node_id]))[0].withheld

    async def look(self, renters: trust.Renters | None = None) -> None:
        await trust.look(self.rig.ctx, TrustTerms(check_seconds=0), renters)

    async def score(self) -> dict[str, Any]:
        path = f"/api/v1/nodes/{self.agent.node_id}/reliability"
        self.who = await logged_in(self.client, self.who.email, self.who.account_id)
        answer = await self.client.get(path, headers=self.who.headers)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture
async def provider(
    ctx: Ctx, clock: ManualClock, valkey_url: str, database_url: str
) -> AsyncIterator[Provider]:
    settings = settings_for_tests(database_url, maintenance_notice_seconds=NOTICE)
    app = create_app(settings, ctx=ctx, passwords=quick_passwords())
    async with running(app) as client, brain_front(ctx, clock, valkey_url) as rig:
        who = await signed_up(client)
        rig.account = type(rig.account)(who.account_id)
        agent = await rig.agent(count=2)
        yield Provider(rig, agent, client, who)


async def test_from_the_notice_on_nothing_new_is_placed_and_nothing_is_evicted(
    provider: Provider,
) -> None:
    rig = provider.rig
    lease = await rig.running(provider.agent)
    made = await provider.announce(6, 8, reason="new fans")
    assert made.status_code == 201
    assert (made.json()["state"], made.json()["late"]) == ("announced", False)
    await rig.claim(provider.agent)  # before the notice there is no harm in it
    rig.clock.advance(2 * 3600 + 1)
    await provider.agent.open_session()
    await provider.agent.beat(provider.agent.seen(lease))
    await rig.front.flush()
    assert "in maintenance until" in await provider.withheld()
    with pytest.raises(NoCapacity, match="maintenance"):
        await rig.claim(provider.agent)
    assert (await rig.lease(lease.lease_id)).state is fleet.LeaseState.OPEN
    rig.clock.advance(6 * 3600)
    assert await provider.withheld() == ""


async def test_a_cancelled_window_closes_nothing(provider: Provider) -> None:
    made = (await provider.announce(1, 8)).json()
    assert "in maintenance" in await provider.withheld()
    path = f"{provider.path}/{made['window_id']}"
    gone = await provider.client.delete(path, headers=provider.who.headers)
    again = await provider.client.delete(path, headers=provider.who.headers)
    assert (gone.json()["state"], again.status_code) == ("cancelled", 200)
    assert await provider.withheld() == ""
    listed = await provider.client.get(provider.path, headers=provider.who.headers)
    assert [one["state"] for one in listed.json()["items"]] == ["cancelled"]


@pytest.mark.parametrize(
    "body",
    [
        {"from": "2001-01-01T00:00:00Z", "until": "2001-01-02T00:00:00Z"},
        {"from": "2050-01-01T00:00:00", "until": "2050-01-02T00:00:00"},
        {"from": "2050-01-01T00:00:00Z"},
        {"from": 5, "until": "x", "more": 1},
    ],
)
async def test_what_is_no_window_is_refused(provider: Provider, body: dict[str, Any]) -> None:
    answer = await provider.client.post(provider.path, json=body, headers=provider.who.headers)
    assert answer.status_code == 422, answer.text


async def test_another_providers_node_is_not_found(provider: Provider) -> None:
    provider.who = await signed_up(provider.client)
    assert (await provider.announce(6, 8)).status_code == 404
    answer = await provider.client.get(provider.path, headers=provider.who.headers)
    assert answer.status_code == 404
    assert (await provider.client.get(provider.path)).status_code == 401


async def test_renters_are_told_once_and_told_of_the_end(provider: Provider) -> None:
    lease = await provider.rig.running(provider.agent)
    made = (await provider.announce(6, 8, reason="new fans")).json()
    heard = Heard()
    await provider.look(heard)
    await provider.look(heard)
    assert [(n.lease_id, n.what) for n in heard.notices] == [
        (lease.lease_id, "maintenance_announced")
    ]
    assert "new fans" in heard.notices[0].sentence
    path = f"{provider.path}/{made['window_id']}"
    await provider.client.delete(path, headers=provider.who.headers)
    await provider.look(heard)
    await provider.look(heard)
    assert [n.what for n in heard.notices] == ["maintenance_announced", "maintenance_cancelled"]
    async with provider.rig.ctx.db.begin() as tx:
        assert len(list(await tx.scalars(select(MaintenanceTold)))) == 2


async def lose(provider: Provider, lease: LeaseView) -> None:
    """The node stops speaking until its lease is lost, and comes back with nothing."""
    rig = provider.rig
    other = await rig.agent()  # somebody else is heard: it is the node, not the brain
    for _ in range(5):
        await rig.pass_time(20, other)
        await rig.reconcile()
        await provider.look()
    assert (await rig.lease(lease.lease_id)).outcome is fleet.Outcome.LOST
    await provider.agent.restart()
    await provider.agent.beat()
    await rig.front.flush()
    await rig.reconcile()
    await rig.pass_time(61, other, provider.agent)
    await provider.look()


async def test_a_lost_lease_and_the_outage_count_with_every_event_shown(
    provider: Provider,
) -> None:
    lease = await provider.rig.running(provider.agent, ttl_seconds=SHORT)
    await lose(provider, lease)
    found = await provider.score()
    kinds = {event["kind"]: event for event in found["events"]}
    assert kinds["lost_lease"]["subject"] == lease.lease_id
    assert kinds["outage"]["seconds"] > 60
    assert found["reliability_ppm"] < 961_538
    offer = (await fleet.offers(provider.rig.ctx, [provider.agent.node_id]))[0]
    assert offer.reliability_ppm == found["reliability_ppm"]


async def test_what_is_announced_in_time_does_not_count(provider: Provider) -> None:
    await provider.announce(4.01, 9)
    lease = await provider.rig.running(provider.agent, ttl_seconds=SHORT)
    provider.rig.clock.advance(4 * 3600 + 120)
    await provider.rig.front.flush()
    await provider.agent.open_session()
    await provider.agent.beat(provider.agent.seen(lease))
    await provider.rig.front.flush()
    await lose(provider, lease)
    found = await provider.score()
    assert [(e["kind"], e["seconds"]) for e in found["events"]] == [("outage", 0)]
    assert found["reliability_ppm"] == 1_000_000


async def test_a_late_announcement_counts(provider: Provider) -> None:
    assert (await provider.announce(1, 2)).json()["late"] is True
    await provider.look()
    found = await provider.score()
    assert [event["kind"] for event in found["events"]] == ["late_maintenance"]
    assert found["reliability_ppm"] == 990_099


async def test_ones_own_work_never_counts(provider: Provider) -> None:
    """Self-rental neither raises nor lowers a score."""
    rig = provider.rig
    wanted = fleet.Claim(
        replica_id=rig.ctx.ids.new(ReplicaId),
        deployment_id=rig.ctx.ids.new(DeploymentId),
        node_id=provider.agent.node_id,
        gpu_count=1,
        launch=LAUNCH,
        payer=rig.account,
        mode="pool",
        ttl_seconds=SHORT,
    )
    async with rig.ctx.db.begin() as tx:
        made = await fleet.claim(tx, wanted, now_ns=rig.clock.now_ns(), ids=rig.ctx.ids)
    await rig.front.look()
    await provider.agent.beat(provider.agent.seen(made))
    await lose(provider, await rig.lease(made.lease_id))
    assert {e["kind"] for e in (await provider.score())["events"]} == {"outage"}


async def test_the_score_is_computed_again_from_the_answer_alone(provider: Provider) -> None:
    lease = await provider.rig.running(provider.agent, ttl_seconds=SHORT)
    await lose(provider, lease)
    found = await provider.score()
    assert recomputed(found) == (
        found["reliability_ppm"],
        found["uptime_ppm"],
        found["penalty"],
    )
    found["events"].pop()
    assert recomputed(found)[0] > found["reliability_ppm"]
