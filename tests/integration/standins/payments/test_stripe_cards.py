"""The official client takes the emulated Stripe for the real one: cards, intents, refunds."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import stripe

from tests.support.stripe_desk import StripeDesk

NO_REDIRECTS = {"enabled": True, "allow_redirects": "never"}


def saved(api: Any, customer: str, card: str) -> str:
    return str(api.payment_methods.attach(card, {"customer": customer}).id)


def pay(api: Any, customer: str, method: str, **more: Any) -> Any:
    asked = {"amount": 2000, "currency": "usd", "customer": customer, "payment_method": method}
    return api.payment_intents.create({**asked, "off_session": True, "confirm": True, **more})


def test_a_card_that_was_set_up_is_charged_while_its_owner_is_away(api: Any, customer: str) -> None:
    setup = api.setup_intents.create(
        {
            "customer": customer,
            "payment_method": "pm_card_visa",
            "confirm": True,
            "automatic_payment_methods": NO_REDIRECTS,
        }
    )
    paid = pay(api, customer, setup.payment_method, expand=["latest_charge"])
    assert (setup.status, paid.status, paid.latest_charge.captured) == ("succeeded",) * 2 + (True,)


@pytest.mark.parametrize(
    ("card", "code", "decline"),
    [
        ("pm_card_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeDeclinedProcessingError", "processing_error", "processing_error"),
        ("pm_card_chargeDeclinedStolenCard", "card_declined", "stolen_card"),
    ],
)
def test_declines_have_their_real_codes(api: Any, card: str, code: str, decline: str) -> None:
    asked = {"amount": 2000, "currency": "usd", "payment_method": card, "confirm": True}
    with pytest.raises(stripe.CardError) as refused:
        api.payment_intents.create({**asked, "automatic_payment_methods": NO_REDIRECTS})
    error = refused.value.error
    assert (refused.value.http_status, error.code, error.decline_code) == (402, code, decline)
    assert error.payment_intent.status == "requires_payment_method"


def test_a_card_that_attaches_may_fail_on_its_charge(api: Any, customer: str) -> None:
    method = saved(api, customer, "pm_card_chargeCustomerFail")
    with pytest.raises(stripe.CardError):
        pay(api, customer, method)


def test_off_session_a_card_that_wants_its_owner_is_a_402_and_is_confirmed_later(
    api: Any, desk: StripeDesk, customer: str
) -> None:
    method = saved(api, customer, "pm_card_authenticationRequired")
    with pytest.raises(stripe.CardError) as refused:
        pay(api, customer, method)
    intent = refused.value.error.payment_intent
    assert refused.value.error.decline_code == "authentication_required"
    asked = {"payment_method": method, "return_url": "https://example.com/back"}
    assert api.payment_intents.confirm(intent.id, asked).status == "requires_action"
    assert desk.own(f"authenticate/{intent.id}", **{"pass": True})["status"] == "succeeded"


def test_a_card_set_up_once_needs_its_owner_no_more(
    api: Any, desk: StripeDesk, customer: str
) -> None:
    card = "pm_card_authenticationRequiredOnSetup"
    asked = {"customer": customer, "payment_method": card, "confirm": True}
    setup = api.setup_intents.create({**asked, "return_url": "https://example.com/back"})
    assert setup.status == "requires_action"
    desk.own(f"authenticate/{setup.id}", **{"pass": True})
    assert pay(api, customer, setup.payment_method).status == "succeeded"


def test_manual_capture_takes_less_and_frees_the_rest(api: Any, customer: str) -> None:
    method = saved(api, customer, "pm_card_visa")
    held = pay(api, customer, method, capture_method="manual")
    assert (held.status, held.amount_capturable) == ("requires_capture", 2000)
    taken = api.payment_intents.capture(held.id, {"amount_to_capture": 1500})
    assert (taken.status, taken.amount_received) == ("succeeded", 1500)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.payment_intents.cancel(held.id)
    assert refused.value.code == "payment_intent_unexpected_state"


def test_a_refund_is_never_more_than_what_is_left(api: Any, customer: str) -> None:
    paid = pay(api, customer, saved(api, customer, "pm_card_visa"))
    assert api.refunds.create({"payment_intent": paid.id, "amount": 1500}).status == "succeeded"
    with pytest.raises(stripe.InvalidRequestError):
        api.refunds.create({"payment_intent": paid.id, "amount": 501})
    api.refunds.create({"payment_intent": paid.id})
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"payment_intent": paid.id})
    assert refused.value.code == "charge_already_refunded"


def test_a_disputed_charge_takes_the_money_and_a_fee(api: Any, customer: str) -> None:
    paid = pay(
        api,
        customer,
        saved(api, customer, "pm_card_createDispute"),
        capture_method="automatic",
    )
    dispute = api.disputes.list({"payment_intent": paid.id}).data[0]
    assert (dispute.status, dispute.reason) == ("needs_response", "fraudulent")
    assert [(row.amount, row.fee) for row in dispute.balance_transactions] == [(-2000, 1500)]
    assert api.disputes.close(dispute.id).status == "lost"


def test_a_detached_card_is_of_no_more_use(api: Any, customer: str) -> None:
    method = saved(api, customer, "pm_card_visa")
    api.payment_methods.detach(method)
    with pytest.raises(stripe.InvalidRequestError):
        pay(api, customer, method)
    assert api.payment_methods.list({"customer": customer, "type": "card"}).data == []


def test_the_bank_of_a_saved_card_changes_its_mind(
    api: Any, desk: StripeDesk, customer: str
) -> None:
    method = saved(api, customer, "pm_card_visa")
    desk.own(f"cards/{method}", decline="insufficient_funds")
    with pytest.raises(stripe.CardError):
        pay(api, customer, method)
    desk.own(f"cards/{method}", decline="", processing_seconds=3600)
    slow = pay(api, customer, method)
    assert slow.status == "processing"
    desk.own("clock", advance_seconds=3601)
    assert api.payment_intents.retrieve(slow.id).status == "succeeded"


def test_a_checkout_page_is_paid_by_a_person(api: Any, desk: StripeDesk, customer: str) -> None:
    line = {"price_data": {"currency": "usd", "unit_amount": 1000}, "quantity": 2}
    line["price_data"]["product_data"] = {"name": "credits"}  # type: ignore[index]
    asked = {"mode": "payment", "line_items": [line], "customer": customer}
    url = "https://example.com/done?s={CHECKOUT_SESSION_ID}"
    session = api.checkout.sessions.create({**asked, "success_url": url})
    assert (session.status, session.payment_intent) == ("open", None)
    page = stripe_page(session.url, card="pm_card_visa")
    assert page.headers["location"] == f"https://example.com/done?s={session.id}"
    done = api.checkout.sessions.retrieve(session.id, {"expand": ["payment_intent"]})
    assert (done.payment_status, done.payment_intent.amount_received) == ("paid", 2000)


def stripe_page(url: str, **form: str) -> httpx.Response:
    return httpx.post(url, data=form, timeout=30)


def test_a_checkout_page_expires(api: Any, desk: StripeDesk) -> None:
    asked = {"mode": "setup", "success_url": "https://example.com"}
    session = api.checkout.sessions.create(asked)
    desk.own("clock", advance_seconds=25 * 3600)
    assert api.checkout.sessions.retrieve(session.id).status == "expired"


def test_a_connected_account_is_paid_out(api: Any, desk: StripeDesk, customer: str) -> None:
    account = api.accounts.create(
        {"type": "express", "capabilities": {"transfers": {"requested": True}}}
    )
    order = {"amount": 1000, "currency": "usd", "destination": account.id}
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.transfers.create(order)
    assert refused.value.code == "insufficient_capabilities_for_transfer"
    desk.own(f"accounts/{account.id}", onboard=True)
    ready = saved(api, customer, "pm_card_bypassPending")
    pay(api, customer, ready, capture_method="automatic", amount=90_000)
    transfer = api.transfers.create(order)
    payout = api.payouts.create({"amount": 1000, "currency": "usd"}, {"stripe_account": account.id})
    for seconds in (61, 90_000):
        desk.own("clock", advance_seconds=seconds)
    paid = api.payouts.retrieve(payout.id, options={"stripe_account": account.id})
    assert (transfer.reversed, paid.status) == (False, "paid")


def test_transfers_need_money_that_is_available(api: Any, desk: StripeDesk) -> None:
    account = api.accounts.create(
        {"type": "express", "capabilities": {"transfers": {"requested": True}}}
    )
    desk.own(f"accounts/{account.id}", onboard=True)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.transfers.create({"amount": 10**9, "currency": "usd", "destination": account.id})
    assert refused.value.code == "balance_insufficient"


def test_a_charge_in_dispute_is_not_refunded_until_it_is_won(
    api: Any, desk: StripeDesk, customer: str
) -> None:
    paid = pay(api, customer, saved(api, customer, "pm_card_visa"))
    opened = desk.own("disputes", payment_intent=paid.id)
    with pytest.raises(stripe.InvalidRequestError) as refused:
        api.refunds.create({"payment_intent": paid.id})
    assert refused.value.code == "charge_disputed"
    desk.own(f"disputes/{opened['id']}", outcome="won")
    assert api.refunds.create({"payment_intent": paid.id}).status == "succeeded"
