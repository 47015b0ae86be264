"""A gateway and a brain, both real: usage that cannot be counted holds nothing back."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from msgspec.structs import replace as replaced
from sqlalchemy import text

from brain.billing import LeaseTerms, lease_opened
from brain.plumbing import Ctx
from kernel.clock import SystemClock
from kernel.ids import AccountId, DeploymentId, LeaseId, ReplicaId
from kernel.wire.gateway import ReplicaRow, Snapshot
from tests.support.brain import GATEWAY_TOKEN
from tests.support.gateway import (
    KEY,
    OTHER_KEY,
    PLATFORM,
    Gateway,
    StartGateway,
    key_row,
    snapshot,
    spooled,
)
from tests.support.real_brain import real_brain
from tests.support.scripted_worker import answer, scripted_worker
from tests.support.wait import until

PLAIN = b'{"choices":[],"usage":{"prompt_tokens":4,"completion_tokens":2}}'
ORDER = (KEY, OTHER_KEY, KEY, KEY, OTHER_KEY, KEY)


def terms(replica: ReplicaRow, opened_ns: int) -> LeaseTerms:
    """Of the lease that this replica's requests are booked on."""
    return LeaseTerms(
        lease_id=LeaseId(replica.lease_id),
        epoch=replica.epoch,
        payer=AccountId(PLATFORM),
        provider=None,
        gpus=1,
        renter_rate_nano=0,
        provider_rate_nano=0,
        mode="pool",
        pool_rate_nano=0,
        ceiling_prompt_nano=0,
        ceiling_completion_nano=0,
        deployment_id=DeploymentId(replica.deployment_id),
        replica_id=ReplicaId(replica.replica_id),
        opened_ns=opened_ns,
    )


def two_keys(port: int) -> Snapshot:
    """``OTHER_KEY`` has an id that is too long: no piece of it can be read."""
    tables = snapshot(port)
    wrong = replaced(key_row(OTHER_KEY), key_id="key_" + "f" * 200)
    return replaced(tables, keys=[*tables.keys, wrong])


async def metric(gateway: Gateway, name: str) -> float:
    return await asyncio.to_thread(gateway.metric, f"ganglion_gateway_{name}")


async def kept(ctx: Ctx) -> tuple[int, int]:
    """Pieces that are counted, and those that are parked."""
    async with ctx.db.begin() as tx:
        counted = await tx.scalar(text("SELECT count(*) FROM usage_segment"))
        parked = await tx.scalar(text("SELECT count(*) FROM parked_segment"))
    return int(counted or 0), int(parked or 0)


@pytest.mark.feature("G5", "A10")
async def test_pieces_that_no_brain_can_read_are_parked_and_the_rest_is_counted(
    ctx: Ctx, database_url: str, start_gateway: StartGateway
) -> None:
    live = replace(ctx, clock=SystemClock())
    async with scripted_worker(lambda _: [answer(PLAIN)]) as worker:
        tables = two_keys(worker.port)
        async with ctx.db.begin() as tx:
            await lease_opened(tx, terms(tables.replicas[0], live.clock.now_ns()), ctx.ids)
        async with real_brain(ctx, database_url, tables) as url:
            settings = {"brain_url": url, "gateway_token": GATEWAY_TOKEN}
            gateway = start_gateway(**settings, gateway_ship_seconds=0.1)
            await until(lambda: metric(gateway, "ready"))
            for key in ORDER:
                told = await asyncio.to_thread(gateway.post, {"model": "m"}, key=key)
                assert told.status_code == 200
            await until(lambda: _is(ctx, (ORDER.count(KEY), ORDER.count(OTHER_KEY))), 60)
            assert await metric(gateway, "usage_parked_total") == ORDER.count(OTHER_KEY)
            assert await asyncio.to_thread(gateway.stop) == 0
            assert spooled(gateway.spool) == []


async def _is(ctx: Ctx, wanted: tuple[int, int]) -> bool:
    return await kept(ctx) == wanted
