"""MoMo's stand-in, judged by what MTN's own old client was recorded to send, and by its rules."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import httpx
import pytest

from kernel.clock import ManualClock
from standins.payments.front import App
from standins.payments.momo.desk import MomoDesk
from standins.payments.momo.numbers import FIRST, fate

RECORDED = Path(__file__).with_name("momo_recorded.jsonl")
ID = "053c6dea-dd68-4f5c-8c83-c830dac9f40"
USER, COLLECTION, DISBURSEMENT = ID + "1", ID + "3", ID + "2"
REFERENCE = "24ac3ff9-2693-4488-9e65-14bd1fc3226c"
BODY = {
    "amount": "5",
    "currency": "EUR",
    "externalId": "1",
    "payer": {"partyIdType": "MSISDN", "partyId": "256772123456"},
    "payerMessage": "m",
    "payeeNote": "n",
}
pytestmark = pytest.mark.feature("H3")


@pytest.fixture
def desk(clock: ManualClock, seed: int) -> MomoDesk:
    keys = {"collection": COLLECTION, "disbursement": DISBURSEMENT}
    return MomoDesk(clock, random.Random(seed), keys, {USER: "s" * 1})


@pytest.fixture
def http(desk: MomoDesk) -> httpx.AsyncClient:
    transport = httpx.ASGITransport(App(desk))
    return httpx.AsyncClient(transport=transport, base_url="http://momo")


async def token(http: httpx.AsyncClient, product: str = "collection") -> dict[str, str]:
    key = {"collection": COLLECTION, "disbursement": DISBURSEMENT}[product]
    given = {"ocp-apim-subscription-key": key}
    answer = await http.post(f"/{product}/token/", auth=(USER, "s"), headers=given)
    assert answer.status_code == 200, answer.text
    bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
    return given | bearer | {"x-target-environment": "sandbox", "x-reference-id": REFERENCE}


async def ask(http: httpx.AsyncClient, headers: dict[str, str], **changed: Any) -> httpx.Response:
    body = BODY | changed
    return await http.post("/collection/v1_0/requesttopay", json=body, headers=headers)


async def test_what_was_recorded_of_the_vendors_client_is_answered(http: httpx.AsyncClient) -> None:
    bearer, statuses = "", []
    for line in RECORDED.read_text().splitlines():
        sent = json.loads(line)
        headers = sent["headers"]
        if headers["Authorization"].startswith("Bearer"):
            headers["Authorization"] = f"Bearer {bearer}"
        answer = await http.request(
            sent["method"], sent["path"], headers=headers, content=sent["body"]
        )
        statuses.append(answer.status_code)
        bearer = answer.json()["access_token"] if sent["path"].endswith("/token/") else bearer
    assert statuses == [200, 202, 200, 200, 200, 200, 200, 202, 200, 200]


@pytest.mark.parametrize(
    ("change", "status", "code"),
    [
        ({"x-reference-id": "018f0000-0000-7000-8000-000000000000"}, 400, "BAD_REQUEST"),
        ({"x-target-environment": "production"}, 500, "NOT_ALLOWED_TARGET_ENVIRONMENT"),
        ({"x-callback-url": ""}, 400, "BAD_REQUEST"),
        ({"x-callback-url": "http://example.com/"}, 400, "BAD_REQUEST"),
        ({"ocp-apim-subscription-key": DISBURSEMENT}, 401, None),
        ({"authorization": "Bearer eyJ"}, 401, None),
    ],
)
async def test_wrong_headers_are_turned_away(
    http: httpx.AsyncClient, desk: MomoDesk, change: dict[str, str], status: int, code: str | None
) -> None:
    answer = await ask(http, await token(http) | change)
    assert (answer.status_code, answer.json().get("code")) == (status, code)
    assert desk.asked == {}


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"amount": 5}, 400),
        ({"amount": "0"}, 400),
        ({"payerMessage": "it's"}, 400),
        ({"payeeNote": "x" * 161}, 400),
        ({"payer": {"partyIdType": "MSISDN", "partyId": "+256772123456"}}, 400),
        ({"currency": "UGX"}, 500),
    ],
)
async def test_wrong_bodies_are_turned_away(
    http: httpx.AsyncClient, desk: MomoDesk, change: dict[str, Any], status: int
) -> None:
    assert (await ask(http, await token(http), **change)).status_code == status
    assert desk.asked == {}


async def test_a_reference_is_taken_once_and_a_token_lasts_an_hour(
    http: httpx.AsyncClient, clock: ManualClock
) -> None:
    headers = await token(http)
    first, second = await ask(http, headers), await ask(http, headers)
    assert (first.status_code, first.content, second.status_code) == (202, b"", 409)
    assert second.json()["code"] == "RESOURCE_ALREADY_EXIST"
    clock.advance(3600)
    late = await http.get(f"/collection/v1_0/requesttopay/{REFERENCE}", headers=headers)
    assert late.status_code == 401


async def test_a_delayed_number_is_told_of_once(
    http: httpx.AsyncClient, desk: MomoDesk, clock: ManualClock
) -> None:
    headers = await token(http) | {"x-callback-url": "http://127.0.0.1/hook"}
    await ask(http, headers, payer={"partyIdType": "MSISDN", "partyId": str(FIRST + 4)})
    path = f"/collection/v1_0/requesttopay/{REFERENCE}"
    assert (await http.get(path, headers=headers)).json()["status"] == "PENDING"
    assert desk.outgoing() == []
    clock.advance(26)
    (message,) = desk.outgoing()
    assert json.loads(message.body)["status"] == "SUCCESSFUL"
    assert desk.outgoing() == []


def test_the_numbers_do_what_is_documented_or_what_was_observed() -> None:
    def told(product: str, *, observed: bool) -> list[tuple[str, str]]:
        found = [fate(product, str(FIRST + n), observed=observed) for n in range(3)]
        return [(one.status, one.reason) for one in found]

    reasons = ["INTERNAL_PROCESSING_ERROR", "APPROVAL_REJECTED", "EXPIRED"]
    written = list(zip(["FAILED", "REJECTED", "TIMEOUT"], reasons, strict=True))
    assert told("collection", observed=False) == written
    assert told("collection", observed=True) == [("FAILED", reason) for reason in reasons]
    assert fate("collection", str(FIRST + 5), observed=False).reason == "PAYER_NOT_FOUND"
    assert fate("disbursement", str(FIRST + 5), observed=False).reason == "NOT_ENOUGH_FUNDS"
    assert fate("collection", "256772123456", observed=False).status == "SUCCESSFUL"
