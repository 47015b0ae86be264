"""Money over HTTP: gateways with their token, people with theirs, and everyone else refused."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from sqlalchemy import text

from brain.billing import Grant, grant
from brain.plumbing import Ctx
from kernel.clock import ManualClock
from kernel.ids import AccountId, HoldId
from kernel.wire import encode
from kernel.wire.gateway import Hello, SliceRequest, UsageBatch
from tests.integration.brain.billing.stage import Stage
from tests.support.brain import GATEWAY_TOKEN, Somebody, signed_up
from tests.support.brain import admin as administrator
from tests.support.wait import until

GATEWAY = {"authorization": f"Bearer {GATEWAY_TOKEN}", "content-type": "application/json"}


@pytest.fixture
def stage(ctx: Ctx, clock: ManualClock) -> Stage:
    return Stage(ctx, clock)


@pytest.fixture
async def admin(brain: httpx.AsyncClient, ctx: Ctx) -> Somebody:
    return await administrator(brain, ctx)


async def say(brain: httpx.AsyncClient, path: str, message: object) -> httpx.Response:
    body = message if isinstance(message, bytes) else encode(message)
    return await brain.post(f"/internal/gateway/{path}", content=body, headers=GATEWAY)


def asked(stage: Stage, account: AccountId, want: int = 10**9, need: int = 1) -> SliceRequest:
    return SliceRequest(str(stage.ctx.ids.new(HoldId)), "boot_1", str(account), want, need)


@pytest.mark.feature("G3")
@pytest.mark.parametrize("path", ["hello", "slices", "usage"])
async def test_gateway_routes_refuse_a_wrong_token(brain: httpx.AsyncClient, path: str) -> None:
    wrong = {"authorization": "Bearer nonsense"}
    answer = await brain.post(f"/internal/gateway/{path}", content=b"{}", headers=wrong)
    assert answer.status_code == 401
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.feature("G3")
@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"not json", 400),
        (b'{"boot_id": 7}', 422),
        (b'{"boot_id":"b","gateway":"g","monotonic_ns":-1}', 422),
        (b'{"boot_id":"b","gateway":"g","monotonic_ns":1,"other":1}', 422),
        (b"x" * (1 << 21), 413),
    ],
)
async def test_a_bad_hello_is_a_clear_problem(
    brain: httpx.AsyncClient, body: bytes, status: int
) -> None:
    answer = await say(brain, "hello", body)
    assert (answer.status_code, answer.json()["status"]) == (status, status)


async def test_a_boots_offset_is_fixed_at_its_first_hello(
    brain: httpx.AsyncClient, clock: ManualClock
) -> None:
    first = await say(brain, "hello", Hello("boot_1", "gw", 1000))
    clock.advance(3)
    again = await say(brain, "hello", Hello("boot_1", "gw", 2000))
    assert first.json() == again.json()
    assert first.json()["offset_ns"] == clock.now_ns() - 3_000_000_000 - 1000


@pytest.mark.feature("G3")
async def test_a_slice_is_refused_without_money(brain: httpx.AsyncClient, stage: Stage) -> None:
    answer = await say(brain, "slices", asked(stage, stage.account()))
    assert (answer.status_code, answer.json()["code"]) == (402, "insufficient_quota")


@pytest.mark.feature("G3")
async def test_a_slice_asked_twice_is_held_once(brain: httpx.AsyncClient, stage: Stage) -> None:
    account = await stage.rich(dollars=1)
    wanted = asked(stage, account)
    answers = await asyncio.gather(*(say(brain, "slices", wanted) for _ in range(8)))
    assert {a.json()["granted_nano"] for a in answers} == {250_000_000}
    held = await stage.one("SELECT held FROM balance WHERE ledger_account = :a", a=account)
    assert held == 250_000_000


@pytest.mark.feature("G3")
async def test_slices_shrink_but_never_below_the_need(
    brain: httpx.AsyncClient, stage: Stage
) -> None:
    account = await stage.rich(dollars=1)
    granted = [
        (await say(brain, "slices", asked(stage, account, need=300_000_000))).json()
        for _ in range(4)
    ]
    assert [g.get("granted_nano") for g in granted] == [300_000_000] * 3 + [None]
    assert granted[3]["status"] == 402


async def test_usage_of_an_unknown_boot_asks_for_a_hello(brain: httpx.AsyncClient) -> None:
    answer = await say(brain, "usage", UsageBatch("boot_9", "gw", 1, []))
    assert (answer.status_code, answer.json()["code"]) == (409, "unknown_boot")


@pytest.mark.feature("G3")
async def test_a_large_backlog_is_taken_and_counted_once(
    brain: httpx.AsyncClient, stage: Stage
) -> None:
    await stage.gateway.hello()
    terms, account = await stage.ready_lease(), stage.account()
    pieces = [stage.segment(terms, account, stage.now, stage.now + 1) for _ in range(2000)]
    batch = UsageBatch("boot_1", "gw", 6 * 10**9, pieces)
    answers = [(await say(brain, "usage", batch)).json() for _ in range(2)]
    assert answers == [{"accepted": 2000, "known": 0}, {"accepted": 0, "known": 2000}]


async def test_the_web_process_says_that_it_can_receive(
    brain: httpx.AsyncClient, stage: Stage
) -> None:
    assert await until(lambda: stage.one("SELECT last_ns FROM receiving"))


@pytest.mark.feature("G4")
async def test_credits_show_on_balance_and_statement(
    brain: httpx.AsyncClient, admin: Somebody
) -> None:
    somebody = await signed_up(brain)
    body = {
        "account_id": somebody.account_id,
        "credits": 50_000,
        "kind": "purchase",
        "reason": "paid by card",
        "idempotency_key": "order-1",
    }
    for _ in range(2):
        made = await brain.post("/api/v1/admin/credits", json=body, headers=admin.headers)
        assert made.status_code == 201
    balance = await brain.get("/api/v1/billing/balance", headers=somebody.headers)
    lines = await brain.get("/api/v1/billing/transactions", headers=somebody.headers)
    assert (balance.json()["credits"], balance.json()["free_usd"]) == (50_000, "$5.00")
    assert [line["memo"] for line in lines.json()["items"]] == ["paid by card"]


@pytest.mark.feature("G4")
@pytest.mark.parametrize(
    "wrong",
    [
        {"credits": 0},
        {"credits": 1.5},
        {"credits": 10**12},
        {"kind": "gift"},
        {"reason": ""},
        {"email": "x@example.com"},
        {"account_id": "acct_7"},
        {"unit": "dollars"},
    ],
)
async def test_a_wrong_grant_is_refused_and_nothing_is_done(
    brain: httpx.AsyncClient, admin: Somebody, stage: Stage, wrong: dict[str, object]
) -> None:
    body = {
        "account_id": str(stage.account()),
        "credits": 1,
        "reason": "r",
        "idempotency_key": "k",
    }
    answer = await brain.post("/api/v1/admin/credits", json=body | wrong, headers=admin.headers)
    assert answer.status_code == 422
    assert await stage.one("SELECT count(*) FROM journal_tx") == 0


async def test_credits_for_an_account_that_is_not_there_are_refused(
    brain: httpx.AsyncClient, admin: Somebody, stage: Stage
) -> None:
    nobody = "acct_" + "7" * 32
    body = {"account_id": nobody, "credits": 1, "reason": "r", "idempotency_key": "k"}
    answer = await brain.post("/api/v1/admin/credits", json=body, headers=admin.headers)
    assert (answer.status_code, answer.json()["param"]) == (404, "account_id")
    assert await stage.one("SELECT count(*) FROM journal_tx") == 0


@pytest.mark.feature("G4")
async def test_only_an_administrator_grants(brain: httpx.AsyncClient) -> None:
    somebody = await signed_up(brain)
    body = {
        "account_id": somebody.account_id,
        "credits": 1,
        "reason": "please",
        "idempotency_key": "k",
    }
    answer = await brain.post("/api/v1/admin/credits", json=body, headers=somebody.headers)
    assert answer.status_code == 403


@pytest.mark.feature("G3")
async def test_a_key_used_for_something_else_is_a_conflict(
    brain: httpx.AsyncClient, admin: Somebody
) -> None:
    somebody = await signed_up(brain)
    body = {"account_id": somebody.account_id, "reason": "r", "idempotency_key": "k"}
    first, second = [
        await brain.post("/api/v1/admin/credits", json=body | {"credits": n}, headers=admin.headers)
        for n in (5, 6)
    ]
    assert (first.status_code, second.status_code) == (201, 409)
    assert second.json()["code"] == "idempotency_conflict"


@pytest.mark.feature("G1")
async def test_usage_and_receipts_of_others_are_not_found(brain: httpx.AsyncClient) -> None:
    somebody = await signed_up(brain)
    for path in ("req_" + "1" * 32, "lease/lease_" + "1" * 32, "lease/x", "deployment/dep_1", "x"):
        answer = await brain.get(f"/api/v1/receipts/{path}", headers=somebody.headers)
        assert answer.status_code == 404
    usage = await brain.get("/api/v1/usage", headers=somebody.headers)
    assert usage.json() == {"items": [], "next": None}


async def test_the_books_of_a_new_installation_hold(
    brain: httpx.AsyncClient, admin: Somebody, ctx: Ctx
) -> None:
    found = (await brain.get("/api/v1/proofs", headers=admin.headers)).json()
    assert len({proof["name"] for proof in found}) >= 9
    assert all(proof["holds"] for proof in found)
    async with ctx.db.begin() as tx:
        assert await tx.scalar(text("SELECT count(*) FROM rate")) >= 4


@pytest.mark.feature("G3")
async def test_an_administrator_sees_every_proof_and_the_newest_seal(
    brain: httpx.AsyncClient, admin: Somebody, stage: Stage
) -> None:
    await stage.rich()
    found = (await brain.get("/api/v1/admin/proofs", headers=admin.headers)).json()
    assert found["holds"]
    assert {"journal_chain", "balances"} <= {proof["name"] for proof in found["proofs"]}
    assert (found["seal"]["number"], len(found["seal"]["hash"])) == (1, 64)
    somebody = await signed_up(brain)
    assert (await brain.get("/api/v1/admin/proofs", headers=somebody.headers)).status_code == 403


@pytest.mark.feature("G3")
async def test_an_administrator_reverses_a_transaction_once(
    brain: httpx.AsyncClient, admin: Somebody, stage: Stage
) -> None:
    account = stage.account()
    given = await grant(stage.ctx, Grant(account, "promo", "gift", "k", credits=10))
    path, body = f"/api/v1/admin/transactions/{given}/reverse", {"reason": "by mistake"}
    made = [await brain.post(path, json=body, headers=admin.headers) for _ in range(2)]
    assert [one.status_code for one in made] == [201, 201]
    assert made[0].json() == made[1].json()
    assert await stage.posted(account) == 0
    path = "/api/v1/admin/transactions/nonsense/reverse"
    assert (await brain.post(path, json=body, headers=admin.headers)).status_code == 404
