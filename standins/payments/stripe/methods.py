"""Payment methods: made of test cards, attached to customers, detached for good."""

from __future__ import annotations

from dataclasses import replace

from standins.payments.stripe.book import Desk, Hidden, Thing
from standins.payments.stripe.call import Call, Routes, retriever
from standins.payments.stripe.cards import CARDS, DECLINES, INCORRECT, READY, TOKENS, Card, Decline
from standins.payments.stripe.refusals import Refused, invalid, no_such

USED_UP = (
    "The provided PaymentMethod was previously used with a PaymentIntent without Customer "
    "attachment, shared with a connected account without Customer attachment, or was detached "
    "from a Customer. It may not be used again. To use a PaymentMethod multiple times, you must "
    "attach it to a Customer first."
)
BARE_NUMBER = (
    "Sending credit card numbers directly to the Stripe API is generally unsafe. We suggest you "
    "use test tokens that map to the test card you are using, see "
    "https://stripe.com/docs/testing."
)


def make_method(desk: Desk, card: Card, billing: Thing | None = None) -> Thing:
    """A payment method of a card that belongs to nobody yet."""
    no_billing = {"address": None, "email": None, "name": None, "phone": None, "tax_id": None}
    method = desk.make(
        "payment_method",
        "pm",
        type="card",
        allow_redisplay="unspecified",
        billing_details=no_billing | (billing or {}),
        customer=None,
        metadata={},
        card={
            "brand": card.brand,
            "checks": {
                "address_line1_check": None,
                "address_postal_code_check": None,
                "cvc_check": "unchecked",
            },
            "country": "US",
            "display_brand": card.brand,
            "exp_month": 12,
            "exp_year": 2034,
            "fingerprint": f"standin{card.number[-9:]}",
            "funding": "credit",
            "generated_from": None,
            "last4": card.last4,
            "networks": {"available": [card.brand], "preferred": None},
            "regulated_status": "unregulated",
            "three_d_secure_usage": {"supported": True},
            "wallet": None,
        },
    )
    set_up = card.authenticate == "on_session"
    desk.book.hidden[method["id"]] = Hidden(card, set_up=set_up)
    return method


def usable(desk: Desk, wanted: str, *, param: str = "payment_method") -> Thing:
    """The method of this id; a ready-made id such as ``pm_card_visa`` makes a new one."""
    if wanted in READY:
        return make_method(desk, CARDS[READY[wanted]])
    method = desk.find("payment_method", wanted, param=param)
    if desk.book.hidden[wanted].used_up:
        raise invalid(USED_UP, param, "payment_method_unexpected_state")
    return method


def refuse_card(decline: Decline, **objects: Thing | str) -> Refused:
    """402 as a bank's no is told."""
    return Refused(
        402,
        decline.message,
        kind="card_error",
        code=decline.code,
        decline_code=decline.decline_code,
        advice_code=decline.advice or None,
        network_decline_code=decline.network or None,
        payment_method=objects.get("payment_method"),
        charge=objects.get("charge"),
    )


def create(call: Call) -> Thing:
    params = call.params
    kind = params.one_of("type", ("card",))
    card = params.child("card")
    number, token = card.text("number"), card.text("token")
    card.ignore("exp_month", "exp_year", "cvc", "networks")
    billing = params.any("billing_details")
    metadata = params.metadata()
    params.ignore("allow_redisplay", "client_secret", "guid", "muid", "sid", "payment_user_agent")
    params.done()
    if kind is None:
        raise invalid("Missing required param: type.", "type", "parameter_missing")
    found = _card_of(number, token, client=call.client)
    method = make_method(call.desk, found, billing if isinstance(billing, dict) else None)
    method["metadata"] = metadata
    return method


def _card_of(number: str | None, token: str | None, *, client: bool) -> Card:
    if token:
        if token not in TOKENS:
            raise no_such("token", token, param="card[token]")
        return CARDS[TOKENS[token]]
    if not number:
        raise invalid("Missing required param: card[number].", "card[number]", "parameter_missing")
    if not client:
        raise Refused(402, BARE_NUMBER, kind="invalid_request_error")
    plain = number.replace(" ", "")
    if plain == INCORRECT or plain not in CARDS:
        raise Refused(
            402,
            "Your card number is incorrect.",
            kind="card_error",
            code="incorrect_number",
            param="number",
        )
    return CARDS[plain]


def attach(call: Call) -> Thing:
    params = call.params
    wanted = params.must("customer")
    params.done()
    customer = call.desk.find("customer", wanted, param="customer")
    if customer.get("deleted"):
        raise no_such("customer", wanted, param="customer")
    method = usable(call.desk, call.ids[0], param="")
    if method["customer"] not in (None, customer["id"]):
        words = "The payment method you provided has already been attached to a customer."
        raise invalid(words, code="payment_method_unexpected_state")
    card = call.book.hidden[method["id"]].card
    if card.decline and not card.attaches:
        raise refuse_card(DECLINES[card.decline])
    attach_to(call.desk, method, customer["id"])
    return method


def attach_to(desk: Desk, method: Thing, customer: str) -> None:
    """Save it for the customer; may be repeated."""
    if method["customer"] == customer:
        return
    method["customer"] = customer
    method["card"]["checks"]["cvc_check"] = "pass"
    desk.emit("payment_method.attached", method)


def detach(call: Call) -> Thing:
    call.params.done()
    method = call.desk.find("payment_method", call.ids[0])
    if method["customer"] is None:
        words = "The payment method you provided is not attached to a customer so detachment is "
        raise invalid(words + "impossible.", code="payment_method_unexpected_state")
    _detach(call.desk, method)
    return method


def _detach(desk: Desk, method: Thing) -> None:
    customer = desk.table("customer")[method["customer"]]
    if customer["invoice_settings"]["default_payment_method"] == method["id"]:
        customer["invoice_settings"]["default_payment_method"] = None
    before = {"customer": method["customer"]}
    method["customer"] = None
    desk.book.hidden[method["id"]].used_up = True
    desk.emit("payment_method.detached", method, before)


def detach_from_deleted(desk: Desk, customer: str) -> None:
    for method in desk.table("payment_method").values():
        if method["customer"] == customer:
            _detach(desk, method)


def update(call: Call) -> Thing:
    method = call.desk.find("payment_method", call.ids[0])
    metadata = call.params.metadata(method["metadata"])
    call.params.ignore("allow_redisplay", "billing_details", "card")
    call.params.done()
    method["metadata"] = metadata
    return method


def list_all(call: Call) -> Thing:
    """By ``customer``; without one only methods of nobody could be told, and none is."""
    customer = call.ids[0] if call.ids else call.params.text("customer")
    kind = call.params.one_of("type", ("card", "us_bank_account", "link", "sepa_debit"))
    if call.ids:
        call.desk.find("customer", call.ids[0])
    rows = [
        row
        for row in call.desk.table("payment_method").values()
        if row["customer"] == customer and customer and kind in (None, row["type"])
    ]
    url = f"/v1/customers/{customer}/payment_methods" if call.ids else ""
    return call.page("payment_method", rows, url=url)


def retrieve_of_customer(call: Call) -> Thing:
    call.params.done()
    method = call.desk.find("payment_method", call.ids[1])
    if method["customer"] != call.ids[0]:
        raise no_such("PaymentMethod", call.ids[1])
    return method


def change_card(desk: Desk, wanted: str, changes: Thing) -> None:
    """From now on the bank behaves otherwise: ``decline``, ``authenticate``, ``dispute`` …"""
    if wanted not in desk.book.hidden:
        raise ValueError(f"no payment method {wanted}")
    hidden = desk.book.hidden[wanted]
    decline = changes.get("decline", hidden.card.decline)
    if decline and decline not in DECLINES:
        raise ValueError(f"decline is one of: {', '.join(DECLINES)}")
    hidden.card = replace(hidden.card, **changes)


ROUTES: Routes = {
    ("POST", "/v1/payment_methods"): create,
    ("GET", "/v1/payment_methods"): list_all,
    ("GET", "/v1/payment_methods/*"): retriever("payment_method"),
    ("POST", "/v1/payment_methods/*"): update,
    ("POST", "/v1/payment_methods/*/attach"): attach,
    ("POST", "/v1/payment_methods/*/detach"): detach,
    ("GET", "/v1/customers/*/payment_methods"): list_all,
    ("GET", "/v1/customers/*/payment_methods/*"): retrieve_of_customer,
}
