"""Who sees which measurements through the API, over the real app; and Prometheus's pages."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from brain import fleet
from brain.app import create_app
from brain.deployments import store
from brain.fleet import Claim, LeaseView
from brain.history import HistoryPart, reconcile_history
from brain.plumbing import Ctx
from brain.settings import Settings
from kernel.clock import NS, ManualClock
from kernel.ids import AccountId, DeploymentId
from kernel.wire.agent import GpuSpans, Span
from tests.support.brain import Somebody, admin, running, settings_for_tests, signed_up
from tests.support.deployments import give
from tests.support.fleet import LAUNCH, Agent, Rig, gpu

pytestmark = [pytest.mark.feature("C3"), pytest.mark.feature("D5")]
TOKENS = "vllm:generation_tokens_total"


@pytest.fixture
def settings(database_url: str, valkey_url: str) -> Settings:
    return settings_for_tests(database_url, redis_url=valkey_url, metrics_nodes=True)


@pytest.fixture
async def provider(brain: httpx.AsyncClient) -> Somebody:
    return await signed_up(brain)


@pytest.fixture
def rig(
    ctx: Ctx, clock: ManualClock, app: FastAPI, brain: httpx.AsyncClient, provider: Somebody
) -> Rig:
    clock.set_wall(clock.now_ns() // (3600 * NS) * 3600 * NS)
    return Rig(ctx, clock, app.state.agents, brain, AccountId(provider.account_id))


@pytest.fixture
def history(app: FastAPI) -> HistoryPart:
    (part,) = (one for one in app.state.agents.parts if isinstance(one, HistoryPart))
    return part


async def measured(rig: Rig, history: HistoryPart, agent: Agent, *uses: int | None) -> None:
    """A beat every ten seconds with these utilisations of its first GPU; None: no beat."""
    for use in uses:
        if use is not None:
            agent.gpus[0].spans = GpuSpans(Span(1, use, use, use))
            await agent.beat(*agent.last_seen)
            agent.gpus[0].spans = None
        rig.clock.advance(10)
        await rig.front.flush()
    await history.flush()


async def look(brain: httpx.AsyncClient, who: Somebody, path: str, **asked: Any) -> dict[str, Any]:
    answer = await brain.get(f"/api/v1/{path}", params=asked, headers=who.headers)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def iso(at_s: int) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat()


async def rented(brain: httpx.AsyncClient, rig: Rig, agent: Agent, who: Somebody) -> LeaseView:
    """A deployment of ``who`` whose replica holds a lease on the agent's first free GPU."""
    await give(rig.ctx, AccountId(who.account_id))
    body = {"model": "ganglion/stand-in"}
    made = await brain.post("/api/v1/deployments", json=body, headers=who.headers)
    assert made.status_code == 201, made.text
    own = DeploymentId(made.json()["deployment_id"])
    async with rig.ctx.db.begin() as tx:
        row = await store.find(tx, own)
        assert row is not None
        replica = await store.add_replica(
            tx, rig.ctx, row, due_ns=rig.clock.now_ns(), start_max=60, drain_max=60
        )
    wanted = Claim(
        replica_id=replica.replica_id,
        deployment_id=own,
        node_id=agent.node_id,
        gpu_count=1,
        launch=LAUNCH,
        payer=AccountId(who.account_id),
    )
    async with rig.ctx.db.begin() as tx:
        lease = await fleet.claim(tx, wanted, now_ns=rig.clock.now_ns(), ids=rig.ctx.ids)
    await rig.front.look()
    await agent.beat(agent.seen(lease))
    return lease


async def test_a_provider_sees_its_node_over_time_with_gaps_as_gaps(
    brain: httpx.AsyncClient, rig: Rig, history: HistoryPart, provider: Somebody
) -> None:
    agent = await rig.agent(gpu("GPU-a"))
    begun = rig.clock.now_ns() // NS
    await measured(rig, history, agent, 10, None, 90)
    asked = {"from": iso(begun), "to": iso(begun + 30), "step": 10}
    found = await look(brain, provider, f"nodes/{agent.node_id}/metrics", **asked)
    assert [one["kind"] for one in found["series"]] == ["node", "gpu"]
    use = found["series"][1]["metrics"]["utilisation_percent"]
    assert (use["mean"], use["unit"]) == ([10, None, 90], "%")
    assert len(found["times"]) == 3


async def test_a_peak_inside_a_point_is_shown(
    brain: httpx.AsyncClient, rig: Rig, history: HistoryPart, provider: Somebody
) -> None:
    agent = await rig.agent(gpu("GPU-a", utilisation_percent=0))
    await measured(rig, history, agent, 0, 100, 2, 0, 0, 0, 0)
    rig.clock.advance(60)
    await reconcile_history(rig.ctx)
    path = f"nodes/{agent.node_id}/metrics"
    found = await look(
        brain,
        provider,
        path,
        gpu="GPU-a",
        step=60,
        **{"from": iso(rig.clock.now_ns() // NS - 10_000)},
    )
    use = found["series"][0]["metrics"]["utilisation_percent"]
    assert max(high for high in use["high"] if high is not None) == 100
    assert max(mean for mean in use["mean"] if mean is not None) < 20


async def test_a_stranger_sees_nothing_of_a_node(
    brain: httpx.AsyncClient, rig: Rig, history: HistoryPart
) -> None:
    agent = await rig.agent()
    await measured(rig, history, agent, 10)
    stranger = await signed_up(brain)
    path = f"/api/v1/nodes/{agent.node_id}/metrics"
    assert (await brain.get(path, headers=stranger.headers)).status_code == 404


async def test_an_administrator_sees_every_node_that_there_is(
    brain: httpx.AsyncClient, rig: Rig, history: HistoryPart, ctx: Ctx
) -> None:
    agent = await rig.agent(gpu("GPU-a"))
    await measured(rig, history, agent, 10)
    root = await admin(brain, ctx)
    found = await look(brain, root, f"nodes/{agent.node_id}/metrics", step=10)
    assert [one["kind"] for one in found["series"]] == ["node", "gpu"]
    unknown = f"/api/v1/nodes/node_{'0' * 32}/metrics"
    assert (await brain.get(unknown, headers=root.headers)).status_code == 404


async def test_a_renter_sees_its_gpus_while_it_had_them_and_no_others(
    brain: httpx.AsyncClient, rig: Rig, history: HistoryPart
) -> None:
    agent = await rig.agent(gpu("GPU-a"), gpu("GPU-b"))
    await measured(rig, history, agent, 11, 12)
    renter = await signed_up(brain)
    lease = await rented(brain, rig, agent, renter)
    await measured(rig, history, agent, 50, 60, 70)
    found = await look(brain, renter, f"nodes/{agent.node_id}/metrics", step=10)
    named = {one["gpu_uuid"]: one for one in found["series"] if one["kind"] == "gpu"}
    assert set(named) == set(lease.gpu_uuids) == {"GPU-a"}
    use = named["GPU-a"]["metrics"]["utilisation_percent"]["mean"]
    assert [value for value in use if value is not None] == [60, 70]
    assert not [one for one in found["series"] if one["kind"] == "node"]


async def test_a_deployment_shows_gpus_and_tokens_a_second_of_each_replica(
    brain: httpx.AsyncClient, rig: Rig, history: HistoryPart
) -> None:
    agent = await rig.agent(gpu("GPU-a"))
    renter = await signed_up(brain)
    lease = await rented(brain, rig, agent, renter)
    for tokens in (0.0, 500.0, 1500.0):
        seen = agent.seen(lease, metrics={TOKENS: tokens, "vllm:num_requests_running": 2.0})
        await agent.beat(seen)
        await measured(rig, history, agent, None)
    for path in (
        f"deployments/{lease.deployment_id}/metrics/history",
        f"replicas/{lease.replica_id}/metrics",
    ):
        found = await look(brain, renter, path, step=10)
        (worker,) = (one for one in found["series"] if one["kind"] == "worker")
        assert worker["replica_id"] == lease.replica_id
        rate = worker["metrics"]["generation_tokens_per_second"]["mean"]
        assert [value for value in rate if value is not None] == [50.0, 100.0]
    stranger = await signed_up(brain)
    answer = await brain.get(f"/api/v1/{path}", headers=stranger.headers)
    assert answer.status_code == 404


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"step": "60", "from": "2027-01-13T00:00:00"}, "step of"),
        ({"step": "10", "from": "2027-01-15T00:00:00"}, "multiple of 60"),
        ({"from": "2020-01-01T00:00:00Z"}, "396 days"),
        ({"from": "2027-01-15T08:00:00Z", "to": "2027-01-15T07:00:00Z"}, "before"),
        ({"step": "15", "from": "2027-01-15T07:30:00Z"}, "multiple of 10"),
    ],
)
async def test_what_cannot_be_shown_says_what_to_ask(
    brain: httpx.AsyncClient, rig: Rig, provider: Somebody, asked: dict[str, str], words: str
) -> None:
    agent = await rig.agent()
    path = f"/api/v1/nodes/{agent.node_id}/metrics"
    answer = await brain.get(path, params=asked, headers=provider.headers)
    assert answer.status_code == 422, answer.text
    assert words in answer.json()["detail"]


@pytest.mark.feature("O2")
async def test_prometheus_counts_the_fleet(
    brain: httpx.AsyncClient, rig: Rig, history: HistoryPart
) -> None:
    agent = await rig.agent(*(gpu(f"GPU-{n}") for n in range(5)))
    await rig.running(agent)
    agent.gpus[2].foreign_use = True
    agent.gpus[3].xids = {79: 1}
    agent.gpus[4].lost = True
    await agent.beat(*agent.last_seen)
    await history.flush()
    told = (await brain.get("/metrics")).text
    for state in ("held", "free", "foreign", "unhealthy", "lost"):
        assert f'ganglion_gpus{{state="{state}"}} 1.0' in told
    assert 'ganglion_nodes{state="online"} 1.0' in told
    assert 'ganglion_leases{state="open"} 1.0' in told
    assert 'ganglion_queue_age_seconds{queue="' in told
    assert "ganglion_beats_total 3.0" in told
    assert "ganglion_history_rows_lost_total 0.0" in told


@pytest.mark.feature("O2")
async def test_each_gpus_readings_are_on_a_page_of_their_own(
    brain: httpx.AsyncClient, rig: Rig
) -> None:
    agent = await rig.agent(gpu("GPU-a", power_mw=350_500, xids={63: 2}))
    told = (await brain.get("/metrics/nodes")).text
    labels = f'{{gpu="GPU-a",node="{agent.node_id}"}}'
    assert f"ganglion_gpu_power_watts{labels} 350.5" in told
    assert f"ganglion_gpu_health{labels} 1.0" in told
    assert "ganglion_gpu_utilisation_ratio{" not in told
    assert str(agent.node_id) not in (await brain.get("/metrics")).text
    halves = [(await brain.get(f"/metrics/nodes?shard={n}&shards=2")).text for n in (0, 1)]
    assert sorted(str(agent.node_id) in half for half in halves) == [False, True]
    assert (await brain.get("/metrics/nodes?shard=2&shards=2")).status_code == 422


async def test_a_valkey_that_is_away_costs_no_beat_and_is_counted(
    ctx: Ctx, clock: ManualClock, database_url: str
) -> None:
    app = create_app(settings_for_tests(database_url), ctx=ctx)  # nothing listens at its address
    async with running(app) as client:
        somebody = await signed_up(client)
        rig = Rig(ctx, clock, app.state.agents, client, AccountId(somebody.account_id))
        agent = await rig.agent()
        assert (await agent.beat()).renewed == []
        await rig.front.flush()
        told = (await client.get("/metrics")).text
    assert "ganglion_states_lost_total 2.0" in told
    assert "ganglion_beats_total 2.0" in told


@pytest.mark.feature("O2")
async def test_without_a_token_only_this_machine_may_scrape(ctx: Ctx, database_url: str) -> None:
    app = create_app(settings_for_tests(database_url), ctx=ctx)
    far = httpx.ASGITransport(app=app, client=("203.0.113.7", 1))
    async with running(app), httpx.AsyncClient(transport=far, base_url="http://brain") as client:
        for path in ("/metrics", "/metrics/nodes"):
            assert (await client.get(path)).status_code == 403


async def test_the_switch_of_each_gpus_readings_is_off_by_itself(
    ctx: Ctx, database_url: str
) -> None:
    async with running(create_app(settings_for_tests(database_url), ctx=ctx)) as client:
        assert (await client.get("/metrics/nodes")).status_code == 404
