"""A batch of usage with pieces that are wrong: they are parked, all others are counted."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from brain.billing import lease_closed, settle_due
from brain.plumbing import Ctx
from kernel.clock import NS, ManualClock
from kernel.wire import encode
from kernel.wire.gateway import UsageBatch, segment_key
from tests.integration.brain.billing.stage import Stage
from tests.integration.brain.billing.test_many_at_once import broken
from tests.integration.brain.billing.test_routes import say

pytestmark = [pytest.mark.feature("G3"), pytest.mark.feature("G5")]
Piece = dict[str, Any]
NUL_REQUEST = "req_\x00"
# What each is, and how it is made of one that is right.
WRONG: dict[str, Callable[[Piece], object]] = {
    "epoch_below": lambda one: {**one, "epoch": -1},
    "count_beyond": lambda one: {**one, "prompt_tokens": 2**64},
    "count_a_fraction": lambda one: {**one, "completion_tokens": 1.5},
    "weight_none": lambda one: {**one, "weight": 0},
    "no_request": lambda one: {key: one[key] for key in one if key != "request_id"},
    "an_empty_id": lambda one: {**one, "lease_id": ""},
    "a_long_id": lambda one: {**one, "account_id": "x" * 201},
    "an_end_of_no_kind": lambda one: {**one, "end": "vanished"},
    "a_field_of_no_name": lambda one: {**one, "other": 1},
    "no_object": lambda one: 7,
    "nothing": lambda one: None,
    "a_word": lambda one: "segment",
    "an_account_of_no_kind": lambda one: {**one, "account_id": "somebody"},
    "a_day_of_no_year": lambda one: {**one, "day": "someday"},
    "nul_in_the_model": lambda one: {**one, "model": "m\x00"},
    "nul_in_the_lease": lambda one: {**one, "lease_id": "lease_\x00"},
    "nul_in_the_boot": lambda one: {**one, "boot_id": "boot_\x00"},
    "nul_in_the_request": lambda one: {
        **one, "request_id": NUL_REQUEST, "key": segment_key(NUL_REQUEST, 0, 0)
    },
    "a_number_beyond": lambda one: {
        **one, "number": 2**31, "key": segment_key(one["request_id"], 0, 2**31)
    },
    "another_lease": lambda one: {**one, "lease_id": "lease_" + "9" * 32},
    "a_wrong_key": lambda one: {**one, "key": "0" * 32},
    "the_same_wrong_key": lambda one: {**one, "key": "0" * 32},
}  # fmt: skip


@pytest.fixture
async def stage(ctx: Ctx, clock: ManualClock) -> Stage:
    made = Stage(ctx, clock)
    await made.gateway.hello()
    return made


class Batch:
    """Pieces of a lease of the pool, a second each, one after another, as they go over the wire."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage

    async def open(self) -> Batch:
        self.terms = await self.stage.ready_lease()
        self.account = await self.stage.rich()
        return self

    def piece(self) -> Piece:
        start = self.stage.now
        self.stage.clock.advance(1)
        made: Piece = json.loads(
            encode(self.stage.segment(self.terms, self.account, start, self.stage.now))
        )
        return made

    async def send(
        self, brain: httpx.AsyncClient, pieces: list[object], **more: object
    ) -> httpx.Response:
        gateway = self.stage.gateway
        mark = {
            "replica_id": str(self.terms.replica_id),
            "until_ns": gateway.mine(self.stage.now),
        }
        empty = UsageBatch(gateway.boot, "gw", gateway.mine(self.stage.now), [])
        around = json.loads(encode(empty))
        body = {**around, "segments": pieces, "watermarks": [mark], **more}
        return await say(brain, "usage", json.dumps(body).encode())


@pytest.fixture
async def batch(stage: Stage) -> Batch:
    return await Batch(stage).open()


@pytest.mark.parametrize("wrong", ["count_beyond", "nul_in_the_lease", "another_lease"])
async def test_a_wrong_piece_is_parked_and_those_around_it_count(
    brain: httpx.AsyncClient, stage: Stage, batch: Batch, wrong: str
) -> None:
    pieces: list[object] = [batch.piece() for _ in range(3)]
    pieces.insert(1, WRONG[wrong](batch.piece()))
    told = [(await batch.send(brain, pieces)).json() for _ in range(2)]
    assert [(one["accepted"], one["known"]) for one in told] == [(4, 0), (0, 4)]
    assert [len(one["parked"]) for one in told] == [1, 1]
    assert await stage.one("SELECT count(*) FROM usage_segment") == 3
    [parked] = told[0]["parked"]
    kept = await stage.one("SELECT reason FROM parked_segment WHERE key = :k", k=parked["key"])
    assert kept == parked["reason"] != ""


async def test_all_kinds_at_once_are_parked_each_and_what_is_right_is_charged(
    brain: httpx.AsyncClient, stage: Stage, batch: Batch
) -> None:
    pieces: list[object] = []
    for make in WRONG.values():
        pieces += [batch.piece(), make(batch.piece())]
    async with stage.ctx.db.begin() as tx:
        await lease_closed(tx, batch.terms.lease_id, stage.now, "gone")
    told = (await batch.send(brain, pieces)).json()
    assert told["accepted"] == len(pieces)
    assert len({one["key"] for one in told["parked"]}) == len(WRONG)
    assert await stage.one("SELECT count(*) FROM usage_segment") == len(WRONG)
    assert f"ganglion_usage_parked {len(WRONG)}.0" in (await brain.get("/metrics")).text
    await settle_due(stage.ctx)
    assert await stage.one("SELECT count(*) FROM usage_waiting") == 0
    assert await stage.posted(batch.account) == 10 * NS - len(WRONG) * 10**6
    assert await broken(stage.ctx) == []


async def test_what_is_parked_is_kept_word_for_word(
    brain: httpx.AsyncClient, stage: Stage, batch: Batch
) -> None:
    piece = {**batch.piece(), "prompt_tokens": -7, "model": "m\x00"}
    await batch.send(brain, [piece])
    payload = await stage.one("SELECT payload FROM parked_segment")
    assert isinstance(payload, dict)
    assert payload["request_id"] == piece["request_id"]
    assert json.loads(payload["content"]) == piece


async def test_what_a_newer_gateway_says_waits_for_a_brain_that_knows_it(
    brain: httpx.AsyncClient, stage: Stage, batch: Batch
) -> None:
    piece = {**batch.piece(), "energy_joules": 3}
    answer = await batch.send(brain, [batch.piece(), piece], v=2)
    assert (answer.status_code, "energy_joules" in answer.json()["detail"]) == (422, True)
    assert await stage.one("SELECT count(*) FROM parked_segment") == 0


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 400),
        (b'{"boot_id":"b","gateway":"g","sent_monotonic_ns":-1,"segments":[7]}', 422),
        (b'{"boot_id":"b","gateway":"g","sent_monotonic_ns":1,"segments":{}}', 422),
    ],
)
async def test_a_batch_that_is_wrong_around_its_pieces_is_refused(
    brain: httpx.AsyncClient, body: bytes, status: int
) -> None:
    assert (await say(brain, "usage", body)).status_code == status


async def test_the_most_that_may_be_said_is_settled(
    brain: httpx.AsyncClient, stage: Stage, batch: Batch
) -> None:
    batch.terms = await stage.ready_lease(ceiling_prompt_nano=1, ceiling_completion_nano=1)
    most = 2**63 - 1
    large = {"prompt_tokens": most, "completion_tokens": most, "weight": 1024}
    pieces: list[object] = [{**batch.piece(), **large} for _ in range(2)]
    async with stage.ctx.db.begin() as tx:
        await lease_closed(tx, batch.terms.lease_id, stage.now, "gone")
    assert (await batch.send(brain, pieces)).json()["accepted"] == 2
    await settle_due(stage.ctx)
    assert await stage.one("SELECT count(*) FROM usage_waiting") == 0
    assert await broken(stage.ctx) == []
