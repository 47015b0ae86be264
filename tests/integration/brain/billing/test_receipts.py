"""Receipts recompute without the brain; the books prove themselves."""

from __future__ import annotations

import json

import pytest

from brain.billing import Stored, lease_closed, prove, reverse, settle_due, storage_accrued
from brain.billing.service.receipts import lease_receipt, request_receipt
from brain.billing.service.volume_receipts import volume_receipt
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.errors import NotFound
from kernel.ids import AccountId, RequestId, TxId, VolumeId
from kernel.receipt import recompute
from kernel.wire.gateway import Segment
from tests.integration.brain.billing.stage import PROVIDER, Stage


@pytest.fixture
async def stage(ctx: Ctx, clock: ManualClock) -> Stage:
    made = Stage(ctx, clock)
    await made.gateway.hello()
    return made


async def shared_pool(stage: Stage) -> tuple[AccountId, AccountId, Segment]:
    """Two accounts overlap across two windows of a lease that then closes; a ceiling holds."""
    one, two = await stage.rich(), await stage.rich()
    terms = await stage.ready_lease(gpus=3, ceiling_completion_nano=7_000_000)
    start = stage.now
    stage.clock.advance(17)
    first = stage.segment(terms, one, start + NS, start + 13 * NS, weight=3)
    pieces = [
        first,
        stage.segment(terms, one, start + 2 * NS, start + 4 * NS),
        stage.segment(terms, two, start + 5 * NS + 1, start + 11 * NS + 7),
    ]
    async with stage.ctx.db.begin() as tx:
        await lease_closed(tx, terms.lease_id, stage.now, "gone")
    await stage.gateway.send(pieces, replica=terms.replica_id, until_ns=stage.now)
    assert await settle_due(stage.ctx) == 2
    return one, two, first


@pytest.mark.feature("G1", "G3")
async def test_every_proof_holds_after_a_pool_lease(stage: Stage) -> None:
    await shared_pool(stage)
    found = await prove(stage.ctx)
    assert [p for p in found if not p.holds] == []
    idle = {"holds", "admissions", "storage", "waiting", "journal_seals"}
    assert all(p.count for p in found if p.name not in idle)


@pytest.mark.feature("G1")
async def test_a_request_receipt_is_recomputed_from_its_json_alone(stage: Stage) -> None:
    one, _, first = await shared_pool(stage)
    shown = await request_receipt(stage.ctx, one, RequestId(first.request_id))
    verdict = recompute(json.loads(json.dumps(shown)))
    assert verdict.ok, verdict.wrong
    assert shown["settled"]
    assert shown["cost"]["waived_units"] > 0


@pytest.mark.feature("G1")
async def test_a_receipt_tells_nothing_of_other_accounts(stage: Stage) -> None:
    one, two, first = await shared_pool(stage)
    shown = await request_receipt(stage.ctx, one, RequestId(first.request_id))
    others = [s for w in shown["windows"] for s in w["spans"] if s["whose"] == "other"]
    assert others
    assert all(set(s) == {"whose", "start_ns", "end_ns", "weight"} for s in others)
    assert str(two) not in json.dumps(shown)
    with pytest.raises(NotFound):
        await request_receipt(stage.ctx, two, RequestId(first.request_id))


@pytest.mark.feature("G1")
async def test_a_lease_receipt_is_recomputed_for_its_provider(stage: Stage) -> None:
    _, _, first = await shared_pool(stage)
    shown = await lease_receipt(stage.ctx, PROVIDER, first.lease_id)
    verdict = recompute(json.loads(json.dumps(shown)))
    assert verdict.ok, verdict.wrong
    assert shown["buckets"]["busy"] == 3 * 12 * NS


@pytest.mark.feature("G1")
async def test_a_receipt_that_was_changed_is_found_out(stage: Stage) -> None:
    one, _, first = await shared_pool(stage)
    shown = await request_receipt(stage.ctx, one, RequestId(first.request_id))
    shown["windows"][0]["spans"][1]["end_ns"] += NS
    assert not recompute(shown).ok


async def kept_volume(stage: Stage) -> tuple[AccountId, VolumeId]:
    """Three stretches of a volume, none of which is a whole number of nano-dollars."""
    account, volume = await stage.rich(), stage.ctx.ids.new(VolumeId)
    for number in range(3):
        start = stage.now + number * 7_000_001
        stored = Stored(volume, account, None, 3, 136_986, start, start + 7_000_001, 6_999_999)
        async with stage.ctx.db.begin() as tx:
            await storage_accrued(tx, stage.ctx, stored)
    return account, volume


@pytest.mark.feature("G1")
async def test_a_volumes_receipt_is_recomputed_and_a_changed_one_found_out(stage: Stage) -> None:
    account, volume = await kept_volume(stage)
    shown = json.loads(json.dumps(await volume_receipt(stage.ctx, account, volume)))
    assert recompute(shown).ok
    assert shown["billed_nano"] == 10 * NS - await stage.posted(account) > 0
    shown["bills"][0]["gib"] += 1
    assert not recompute(shown).ok
    with pytest.raises(NotFound):
        await volume_receipt(stage.ctx, stage.account(), volume)


@pytest.mark.feature("G3")
async def test_a_reversal_stands_on_the_receipt_and_must_turn_all_of_it(stage: Stage) -> None:
    account, volume = await kept_volume(stage)
    first = (await volume_receipt(stage.ctx, account, volume))["ledger"][0]["id"]
    made = await reverse(stage.ctx, TxId(first), reason="the host lost it")
    shown = json.loads(json.dumps(await volume_receipt(stage.ctx, account, volume)))
    (turned,) = [one for one in shown["ledger"] if one.get("reverses")]
    assert (turned["id"], turned["reverses"]) == (made, first)
    assert recompute(shown).ok
    for entry in turned["entries"]:
        entry["amount"] *= 2
    assert not recompute(shown).ok
