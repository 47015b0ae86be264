"""Keys claimed, settled, taken over and forgotten, over the real routes and database."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import msgspec
import pytest
from sqlalchemy import text

from brain import billing
from brain.plumbing import Ctx
from brain.replays import forget_old_replays
from brain.replays.core import SILENT_NS
from kernel.clock import NS, ManualClock
from kernel.wire import encode
from kernel.wire.gateway import Hello
from kernel.wire.replays import (
    ANSWER_BYTES_MAX,
    KEPT_SECONDS,
    Claim,
    ClaimAnswer,
    Kept,
    Said,
    Settle,
)
from tests.support.brain import GATEWAY_TOKEN
from tests.support.wait import until

ACCOUNT = "acct_" + "0" * 31 + "2"
ANSWER = Kept(200, "application/json", b'{"canary":"an answer that nobody may read at rest"}')
HEADERS = {"authorization": f"Bearer {GATEWAY_TOKEN}"}


def claiming(request: str = "req_1", **changed: Any) -> Claim:
    values: dict[str, Any] = {"account_id": ACCOUNT, "key": "k", "input": "aa", "boot_id": "boot_1"}
    return Claim(**{**values, "request_id": request, **changed})


def settling(request: str = "req_1", **changed: Any) -> Settle:
    return Settle(account_id=ACCOUNT, key="k", request_id=request, **changed)


async def claim(brain: httpx.AsyncClient, asked: Claim) -> ClaimAnswer:
    path = "/internal/gateway/replays/claim"
    told = await brain.post(path, content=encode(asked), headers=HEADERS)
    assert told.status_code == 200, told.text
    return msgspec.json.decode(told.content, type=ClaimAnswer)


async def settle(brain: httpx.AsyncClient, over: Settle) -> bool:
    path = "/internal/gateway/replays/settle"
    told = await brain.post(path, content=encode(over), headers=HEADERS)
    assert told.status_code == 200, told.text
    return bool(told.json()["known"])


async def hello(ctx: Ctx, boot: str = "boot_1") -> None:
    from brain.billing.service import gateway

    message = Hello(boot_id=boot, gateway="g", monotonic_ns=0)
    await gateway.hello(ctx, message, billing.MeterPolicy(installation_id="tests"))


async def close(ctx: Ctx, boot: str = "boot_1") -> None:
    async with ctx.db.begin() as tx:
        await tx.execute(
            text("UPDATE gateway_boot SET closed = true WHERE boot_id = :b"), {"b": boot}
        )


@pytest.mark.feature("A13")
async def test_the_first_runs_and_the_second_gets_its_answer(brain: httpx.AsyncClient) -> None:
    assert (await claim(brain, claiming())).said is Said.RUN
    assert await settle(brain, settling(answer=ANSWER))
    again = await claim(brain, claiming("req_2"))
    assert (again.said, again.request_id, again.answer) == (Said.REPLAY, "req_1", ANSWER)


async def test_a_claim_whose_answer_was_lost_is_the_same_claim(
    brain: httpx.AsyncClient, ctx: Ctx
) -> None:
    await hello(ctx)
    assert (await claim(brain, claiming())).said is Said.RUN
    assert (await claim(brain, claiming())).said is Said.RUN
    assert (await claim(brain, claiming("req_2"))).said is Said.RUNNING


async def test_other_input_and_other_accounts(brain: httpx.AsyncClient) -> None:
    await claim(brain, claiming())
    await settle(brain, settling(answer=ANSWER))
    assert (await claim(brain, claiming("req_2", input="bb"))).said is Said.OTHER_INPUT
    other = claiming("req_3", account_id="acct_" + "0" * 31 + "3")
    assert (await claim(brain, other)).said is Said.RUN


async def test_an_answer_that_was_not_kept_is_told_by_its_request(brain: httpx.AsyncClient) -> None:
    await claim(brain, claiming())
    await settle(brain, settling())
    again = await claim(brain, claiming("req_2"))
    assert (again.said, again.request_id) == (Said.GONE, "req_1")


async def test_a_freed_key_is_anybodys(brain: httpx.AsyncClient) -> None:
    await claim(brain, claiming())
    assert not await settle(brain, settling("req_9", free=True))
    assert await settle(brain, settling(free=True))
    assert (await claim(brain, claiming("req_2", input="bb"))).said is Said.RUN
    assert not await settle(brain, settling(answer=ANSWER))


async def test_who_waits_is_told_when_it_ends(
    brain: httpx.AsyncClient, ctx: Ctx, clock: ManualClock
) -> None:
    await hello(ctx)
    await claim(brain, claiming())
    waiting = asyncio.create_task(claim(brain, claiming("req_2", wait_seconds=5)))
    await until(lambda: bool(clock._sleepers))
    await settle(brain, settling(answer=ANSWER))

    def told() -> bool:
        clock.advance(0.5)
        return waiting.done()

    await until(told)
    assert (await waiting).said is Said.REPLAY


async def test_the_claim_of_a_dead_gateway(
    brain: httpx.AsyncClient, ctx: Ctx, clock: ManualClock
) -> None:
    await hello(ctx)
    await claim(brain, claiming())
    assert (await claim(brain, claiming("req_2"))).said is Said.RUNNING
    clock.advance(ns=SILENT_NS + NS)
    assert (await claim(brain, claiming("req_2"))).said is Said.UNKNOWN
    await close(ctx)  # it came again and told all that it had counted: nothing of this request
    assert (await claim(brain, claiming("req_2"))).said is Said.RUN


async def test_one_of_many_at_once_runs(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    await hello(ctx)
    told = await asyncio.gather(*(claim(brain, claiming(f"req_{n}")) for n in range(12)))
    assert sorted(one.said for one in told) == [Said.RUN] + [Said.RUNNING] * 11


async def test_nothing_of_a_request_can_be_read_at_rest(brain: httpx.AsyncClient, ctx: Ctx) -> None:
    await claim(brain, claiming(key="canary-key", input="c0ffee"))
    over = Settle(ACCOUNT, "canary-key", "req_1", answer=ANSWER)
    assert await settle(brain, over)
    async with ctx.db.begin() as tx:
        (row,) = (await tx.execute(text("SELECT * FROM replay"))).all()
    written = b"".join(str(part).encode() + bytes(part) for part in row if isinstance(part, bytes))
    assert not any(word in written for word in (b"canary", b"c0ffee", b"nobody"))


async def test_the_tick_forgets_what_is_a_day_old(
    brain: httpx.AsyncClient, ctx: Ctx, clock: ManualClock
) -> None:
    await claim(brain, claiming())
    await settle(brain, settling(answer=ANSWER))
    assert await forget_old_replays(ctx) == 0
    clock.advance(KEPT_SECONDS)
    assert (await claim(brain, claiming("req_2", input="bb"))).said is Said.RUN
    clock.advance(KEPT_SECONDS)
    assert await forget_old_replays(ctx) == 1


async def test_only_gateways_and_only_so_much(brain: httpx.AsyncClient) -> None:
    path = "/internal/gateway/replays/claim"
    assert (await brain.post(path, content=encode(claiming()))).status_code == 401
    long = settling(answer=Kept(200, "", b"x" * ANSWER_BYTES_MAX))
    await claim(brain, claiming())
    assert await settle(brain, long)
    over = encode(settling(answer=Kept(200, "", b"x" * (ANSWER_BYTES_MAX + 1))))
    told = await brain.post("/internal/gateway/replays/settle", content=over, headers=HEADERS)
    assert told.status_code == 422
