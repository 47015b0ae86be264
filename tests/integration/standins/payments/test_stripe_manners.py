"""The emulated Stripe's manners: idempotency keys, errors, pages of lists, webhooks, faults."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import httpx
import pytest
import stripe

from tests.support.stripe_desk import StripeDesk, start_stripe
from tests.support.wait import until

MONEY = {"amount": 500, "currency": "usd"}
SECRET = "whsec_stand_in"


@dataclass
class Ear:
    """A webhook endpoint that keeps what it hears; ``answers`` are its next statuses."""

    url: str
    heard: list[tuple[str, bytes]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)

    def kinds(self, secret: str = SECRET) -> list[str]:
        """What the official client believes of it."""
        believed = []
        for signature, body in self.heard:
            try:
                event = stripe.Webhook.construct_event(body, signature, secret)
            except stripe.SignatureVerificationError:
                continue
            believed.append(f"{event.type}:{event.id}")
        return believed


@pytest.fixture
def ear(desk: StripeDesk) -> Iterator[Ear]:
    ears: list[Ear] = []

    class Door(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            ears[0].heard.append((self.headers.get("stripe-signature", ""), body))
            self.send_response(ears[0].answers.pop(0) if ears[0].answers else 200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *words: Any) -> None:
            return None

    server = HTTPServer(("127.0.0.1", 0), Door)
    ears.append(Ear(f"http://127.0.0.1:{server.server_port}/hook"))
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}).start()
    made = desk.own("webhooks/endpoint", url=ears[0].url, secret=SECRET)
    yield ears[0]
    desk.own("manners", "PUT")
    desk.client().webhook_endpoints.delete(made["id"])
    server.shutdown()
    server.server_close()


def test_the_same_key_and_parameters_give_the_same_answer_again(api: Any) -> None:
    first, again = (
        api.payment_intents.create(MONEY, {"idempotency_key": "same"}) for _ in range(2)
    )
    assert again.id == first.id
    assert again.last_response.headers["idempotent-replayed"] == "true"


def test_the_same_key_with_other_parameters_is_refused(api: Any) -> None:
    api.payment_intents.create(MONEY, {"idempotency_key": "other"})
    with pytest.raises(stripe.IdempotencyError) as refused:
        api.payment_intents.create({**MONEY, "amount": 501}, {"idempotency_key": "other"})
    assert refused.value.http_status == 400


async def test_a_key_in_use_is_a_409(api: Any, desk: StripeDesk) -> None:
    desk.fail(fault="late", seconds=3600, call="POST /v1/customers")
    key = {"authorization": f"Bearer {desk.point['STRIPE_API_KEY']}", "idempotency-key": "busy"}
    async with httpx.AsyncClient(base_url=desk.url, headers=key, timeout=None) as client:
        slow = asyncio.create_task(client.post("/v1/customers"))
        await until(lambda: not desk.own("state", "GET")["faults"], why="the slow call to be in")
        with pytest.raises(stripe.APIError) as refused:
            api.customers.create({}, {"idempotency_key": "busy"})
        slow.cancel()
        await asyncio.wait({slow})
    assert refused.value.http_status == 409


def test_a_refusal_before_the_work_frees_its_key(api: Any) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        api.payment_intents.create({**MONEY, "amount": 1}, {"idempotency_key": "free"})
    assert api.payment_intents.create(MONEY, {"idempotency_key": "free"}).amount == 500


def test_a_500_after_the_work_is_repeated_by_the_client_without_a_second_intent(
    api: Any, desk: StripeDesk
) -> None:
    before = desk.own("state", "GET")["objects"].get("payment_intent", 0)
    desk.fail(fault="broken", when="after", call="POST /v1/payment_intents")
    made = desk.client(retries=2).payment_intents.create(MONEY)
    assert made.status == "requires_payment_method"
    assert desk.own("state", "GET")["objects"]["payment_intent"] == before + 1


def test_a_500_that_is_kept_is_given_again(api: Any, desk: StripeDesk) -> None:
    desk.fail(fault="broken_kept", call="POST /v1/payment_intents")
    for _ in range(2):
        with pytest.raises(stripe.APIError):
            api.payment_intents.create(MONEY, {"idempotency_key": "kept"})
    assert api.payment_intents.list({"limit": 1}).data[0].amount == 500


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("throttled", stripe.RateLimitError),
        ("lock_timeout", stripe.RateLimitError),
        ("html", stripe.APIError),
        ("cut", stripe.APIConnectionError),
    ],
)
def test_faults_are_met_once(api: Any, desk: StripeDesk, fault: str, error: Any) -> None:
    desk.fail(fault=fault)
    with pytest.raises(error):
        api.customers.create({})
    assert api.customers.create({}).object == "customer"


def test_errors_are_those_of_the_client(api: Any, desk: StripeDesk) -> None:
    with pytest.raises(stripe.InvalidRequestError) as missing:
        api.payment_intents.retrieve("pi_nothing")
    assert (missing.value.code, missing.value.http_status) == ("resource_missing", 404)
    assert missing.value.request_id.startswith("req_")
    with pytest.raises(stripe.AuthenticationError):
        desk.client(key="sk_test_wrong").customers.list()
    with pytest.raises(stripe.InvalidRequestError) as unknown:
        api.customers.create({"nickname": "x"})
    assert unknown.value.code == "parameter_unknown"


def test_a_deleted_customer_is_still_told_of(api: Any, customer: str) -> None:
    api.customers.delete(customer)
    assert api.customers.retrieve(customer).deleted is True
    with pytest.raises(stripe.InvalidRequestError):
        api.payment_intents.create({**MONEY, "customer": customer})


def test_lists_are_paged_newest_first(api: Any) -> None:
    made = [api.customers.create({"email": "page@example.com"}).id for _ in range(5)]
    pages = api.customers.list({"email": "page@example.com", "limit": 2})
    assert [row.id for row in pages.auto_paging_iter()] == made[::-1]
    back = api.customers.list({"limit": 101, "ending_before": made[1]})
    assert [row.id for row in back.data] == made[:1:-1]


async def test_webhooks_are_signed_and_doubled_and_the_forged_are_not_believed(
    api: Any, desk: StripeDesk, ear: Ear
) -> None:
    desk.own("manners", "PUT", copies=[3, 3], forge=1.0)
    created = api.customers.create({})
    await until(lambda: len(ear.heard) == 4, why="three copies and a forgery")
    event = api.events.list({"type": "customer.created", "limit": 1}).data[0]
    assert event.data.object.id == created.id
    assert ear.kinds() == [f"customer.created:{event.id}"] * 3


@pytest.mark.parametrize("how", ["signature", "stale", "body", "bare"])
async def test_no_forgery_is_believed(api: Any, desk: StripeDesk, ear: Ear, how: str) -> None:
    api.customers.create({})
    await until(lambda: len(ear.heard) == 1, why="the true one")
    event = api.events.list({"limit": 1}).data[0]
    desk.own("webhooks/forge", event=event.id, how=how)
    await until(lambda: len(ear.heard) == 2, why="the forged one")
    assert len(ear.kinds()) == 1


async def test_a_webhook_that_was_refused_comes_again(api: Any, desk: StripeDesk, ear: Ear) -> None:
    ear.answers = [500]
    api.customers.create({})
    await until(lambda: len(ear.heard) == 1, why="the first try")
    desk.own("clock", advance_seconds=6)
    await until(lambda: len(ear.heard) == 2, why="the second try")
    assert len(set(ear.kinds())) == 1


async def test_webhooks_come_out_of_order_when_they_are_let_go(
    api: Any, desk: StripeDesk, ear: Ear
) -> None:
    desk.own("manners", "PUT", hold=True)
    for _ in range(8):
        api.customers.create({})
    desk.own("webhooks/flush", shuffle=True)
    await until(lambda: len(ear.heard) == 8, why="all of them")
    told = api.events.list({"type": "customer.created", "limit": 8}).data
    in_order = [f"customer.created:{event.id}" for event in told][::-1]
    assert sorted(ear.kinds()) == sorted(in_order)
    assert ear.kinds() != in_order


def test_a_webhook_may_come_before_the_answer(api: Any, desk: StripeDesk, ear: Ear) -> None:
    desk.own("manners", "PUT", first=True)
    api.customers.create({})
    assert len(ear.kinds()) == 1


def test_more_calls_than_the_limit_are_throttled() -> None:
    desk = start_stripe("--calls-per-second", "1")
    api = desk.client()
    with pytest.raises(stripe.RateLimitError) as refused:
        list(map(api.customers.list, [{}] * 30))
    desk.stop()
    assert refused.value.headers["stripe-rate-limited-reason"] == "global-rate"
