"""Settlement against a real PostgreSQL: shares, money, closing, late news."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from brain.billing import MeterPolicy, lease_closed, release_due, settle_due
from brain.billing.core.books import window_key
from brain.billing.core.posting import Asset, Entry, Posting
from brain.billing.service.group_commit import post
from brain.billing.service.receipts import request_receipt
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.ids import RequestId, TxId
from kernel.receipt import recompute
from kernel.wire.gateway import SegmentEnd
from tests.integration.brain.billing.stage import PROVIDER, RATE, Stage

SECOND_NANO = RATE // 3600  # what one GPU-second costs


@pytest.fixture
async def stage(ctx: Ctx, clock: ManualClock) -> Stage:
    made = Stage(ctx, clock)
    await made.gateway.hello()
    return made


def unrelated(stage: Stage, key: str) -> Posting:
    """Something else under a key that a lease's own posting will want."""
    entries = (Entry("test:a", Asset.USD, -1), Entry("test:b", Asset.USD, 1))
    return Posting(stage.ctx.ids.new(TxId), key, "test", "", entries)


@pytest.mark.feature("G1", "A20")
async def test_two_accounts_that_run_together_pay_half_each(stage: Stage) -> None:
    one, two = await stage.rich(), await stage.rich()
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(12)
    both = [stage.segment(terms, who, start, start + 4 * NS) for who in (one, two)]
    await stage.gateway.send(both, replica=terms.replica_id, until_ns=stage.now)
    assert await settle_due(stage.ctx) == 1
    for account in (one, two):
        assert await stage.posted(account) == 10 * NS - 2 * SECOND_NANO
    assert await stage.posted("platform:pool") == 4 * SECOND_NANO


@pytest.mark.feature("G1")
async def test_a_window_waits_for_every_gateway(stage: Stage) -> None:
    account = await stage.rich()
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(12)
    segment = stage.segment(terms, account, start, start + NS)
    await stage.gateway.send([segment], replica=terms.replica_id, until_ns=start + 9 * NS)
    assert await settle_due(stage.ctx) == 0
    await stage.gateway.send([], replica=terms.replica_id, until_ns=start + 10 * NS)
    assert await settle_due(stage.ctx) == 1


@pytest.mark.feature("G1")
async def test_a_closed_lease_closes_its_books(stage: Stage) -> None:
    account = await stage.rich()
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(15)
    segment = stage.segment(terms, account, start + NS, start + 13 * NS)
    async with stage.ctx.db.begin() as tx:
        await lease_closed(tx, terms.lease_id, stage.now, "gone")
    stage.clock.advance(1)
    await stage.gateway.send([segment], replica=terms.replica_id, until_ns=stage.now)
    assert await settle_due(stage.ctx) == 2
    lines = {
        line: await stage.posted(f"{terms.lease_id}:{line}", "GPUNS")
        for line in ("capacity", "busy", "idle", "drain", "load", "provision", "lost")
    }
    assert lines == {
        "capacity": -15 * NS,
        "busy": 0,
        "idle": 3 * NS,
        "drain": 0,
        "load": 0,
        "provision": 0,
        "lost": 0,
    }
    assert await stage.posted(account, "GPUNS") == 12 * NS
    assert await stage.posted(f"{PROVIDER}:pending") == 15 * SECOND_NANO * 85 // 100


@pytest.mark.feature("G1")
async def test_a_failed_worker_is_refunded_in_the_pool(stage: Stage) -> None:
    account = await stage.rich()
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(21)
    await stage.alive(terms)
    first = stage.segment(terms, account, start, start + 8 * NS, end=SegmentEnd.OPEN)
    last = stage.segment(
        terms,
        account,
        start + 8 * NS,
        start + 12 * NS,
        request_id=first.request_id,
        number=1,
        end=SegmentEnd.FAILED,
        status=502,
    )
    await stage.gateway.send([first, last], replica=terms.replica_id, until_ns=stage.now)
    assert await settle_due(stage.ctx) == 2
    assert await stage.posted(account) == 10 * NS
    assert await stage.posted("platform:refunds") == -12 * SECOND_NANO
    assert await stage.posted("platform:refunds", "GPUNS") == 12 * NS


@pytest.mark.feature("G1")
async def test_the_ceiling_bounds_the_bill(stage: Stage) -> None:
    account = await stage.rich()
    terms = await stage.ready_lease(ceiling_completion_nano=1_000_000)
    start = stage.now
    stage.clock.advance(12)
    segment = stage.segment(terms, account, start, start + 4 * NS, completion_tokens=100)
    await stage.gateway.send([segment], replica=terms.replica_id, until_ns=stage.now)
    await settle_due(stage.ctx)
    assert await stage.posted(account) == 10 * NS - 100_000
    assert await stage.posted("platform:ceiling") == 100_000 - 4 * SECOND_NANO


@pytest.mark.feature("G1")
@pytest.mark.parametrize(
    ("status", "refunded"),
    [(0, True), (200, True), (502, True), (429, True), (400, False), (404, False)],
)
async def test_a_failure_is_refunded_unless_the_worker_refused_the_input(
    stage: Stage, status: int, refunded: bool
) -> None:
    account = await stage.rich()
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(12)
    await stage.alive(terms)
    segment = stage.segment(
        terms, account, start, start + 4 * NS, end=SegmentEnd.FAILED, status=status
    )
    await stage.gateway.send([segment], replica=terms.replica_id, until_ns=stage.now)
    assert await settle_due(stage.ctx) == 1
    assert await stage.posted(account) == 10 * NS - (0 if refunded else 4 * SECOND_NANO)
    shown = await request_receipt(stage.ctx, account, RequestId(segment.request_id))
    assert recompute(shown).ok


@pytest.mark.feature("G1")
@pytest.mark.parametrize("end", [SegmentEnd.ABORTED, SegmentEnd.CUT])
async def test_estimated_tokens_lower_no_bill(stage: Stage, end: SegmentEnd) -> None:
    account = await stage.rich()
    terms = await stage.ready_lease(ceiling_completion_nano=1_000_000)
    start = stage.now
    stage.clock.advance(12)
    await stage.alive(terms)
    segment = stage.segment(
        terms, account, start, start + 4 * NS, end=end, tokens_estimated=True, completion_tokens=0
    )
    await stage.gateway.send([segment], replica=terms.replica_id, until_ns=stage.now)
    await settle_due(stage.ctx)
    assert await stage.posted(account) == 10 * NS - 4 * SECOND_NANO
    shown = await request_receipt(stage.ctx, account, RequestId(segment.request_id))
    assert recompute(shown).ok


@pytest.mark.feature("G1")
@pytest.mark.parametrize("count", [7, 12])
async def test_a_window_of_more_pieces_than_a_load_closes(stage: Stage, count: int) -> None:
    account = await stage.rich()
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(32)
    pieces = [stage.segment(terms, account, start + n, start + 4 * NS) for n in range(count)]
    pieces += [stage.segment(terms, account, start + 12 * NS, start + 14 * NS)]
    await stage.gateway.send(pieces, replica=terms.replica_id, until_ns=stage.now)
    few = MeterPolicy(pieces_max=5)
    assert [await settle_due(stage.ctx, few) for _ in range(3)] == [1, 1, 0]
    paid = 10 * NS - await stage.posted(account)
    assert 6 * SECOND_NANO - 1 <= paid <= 6 * SECOND_NANO  # a part of one may be in the carry
    assert await stage.one("SELECT count(*) FROM usage_segment WHERE NOT folded") == 0


@pytest.mark.feature("G1")
async def test_life_beyond_what_is_loaded_counts(stage: Stage) -> None:
    account = await stage.rich()
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(25)
    cut = [stage.segment(terms, account, start, start + 9 * NS, end=SegmentEnd.ABORTED)]
    cut += [stage.segment(terms, account, start, start + 9 * NS, end=SegmentEnd.CUT)]
    alive = stage.segment(terms, account, start + 14 * NS, start + 15 * NS)
    async with stage.ctx.db.begin() as tx:
        await lease_closed(tx, terms.lease_id, stage.now, "lost")
    await stage.gateway.send([*cut, alive], replica=terms.replica_id, until_ns=stage.now)
    few = MeterPolicy(pieces_max=2)
    assert [await settle_due(stage.ctx, few) for _ in range(2)] == [1, 1]
    assert await stage.posted(account) == 10 * NS - 10 * SECOND_NANO


@pytest.mark.feature("G1")
async def test_a_lease_that_cannot_be_settled_stops_no_other(stage: Stage) -> None:
    account = await stage.rich()
    leases = []
    for _ in range(2):
        stage.clock.advance(10)
        leases.append(await stage.ready_lease())
    first, start = leases[0], stage.now
    stage.clock.advance(12)
    pieces = [stage.segment(one, account, start, start + 2 * NS) for one in leases]
    await post(stage.ctx, unrelated(stage, window_key(first.lease_id, start, account)))
    await stage.gateway.send(pieces, replica=first.replica_id, until_ns=stage.now)
    with capture_logs() as logged:
        assert await settle_due(stage.ctx) == 1
    assert [e["lease_id"] for e in logged if "lease_id" in e] == [first.lease_id]
    assert await stage.posted("platform:pool") == 2 * SECOND_NANO


@pytest.mark.feature("G1")
async def test_late_news_is_charged_to_nobody(stage: Stage) -> None:
    account = await stage.rich()
    terms, start = await stage.ready_lease(), stage.now
    stage.clock.advance(12)
    on_time = stage.segment(terms, account, start, start + 2 * NS)
    await stage.gateway.send([on_time], replica=terms.replica_id, until_ns=stage.now)
    await settle_due(stage.ctx)
    late = stage.segment(terms, account, start + NS, start + 5 * NS)
    await stage.gateway.send([late])
    await settle_due(stage.ctx)
    assert await stage.posted(account) == 10 * NS - 2 * SECOND_NANO
    assert await stage.posted("platform:late", "GPUNS") == 3 * NS
    assert await release_due(stage.ctx) == 0
