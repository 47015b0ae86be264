"""SetupIntents: a card is proved and kept, so that it can be charged while its owner is away."""

from __future__ import annotations

from standins.payments.stripe.book import Desk, Thing
from standins.payments.stripe.call import Call, Routes, retriever
from standins.payments.stripe.cards import DECLINES, NOT_AUTHENTICATED
from standins.payments.stripe.customers import living
from standins.payments.stripe.methods import attach_to, refuse_card, usable
from standins.payments.stripe.options import accepted_types, client_secret, next_action
from standins.payments.stripe.refusals import Refused, invalid, wrong_state

OPEN = ("requires_payment_method", "requires_confirmation", "requires_action", "processing")
REASONS = ("abandoned", "requested_by_customer", "duplicate")


def create(call: Call) -> Thing:
    params = call.params
    customer = params.text("customer") or None
    method = params.text("payment_method")
    confirm_now = params.flag("confirm")
    fields = {
        "usage": params.one_of("usage", ("off_session", "on_session")) or "off_session",
        "description": params.text("description"),
        "metadata": params.metadata(),
    }
    types, automatic = accepted_types(params)
    return_url = params.text("return_url")
    params.ignore("payment_method_options", "on_behalf_of", "use_stripe_sdk", "mandate_data")
    params.done()
    if customer:
        living(call, customer, "customer")
    intent = call.desk.make(
        "setup_intent",
        "seti",
        application=None,
        automatic_payment_methods=automatic,
        cancellation_reason=None,
        customer=customer,
        last_setup_error=None,
        latest_attempt=None,
        mandate=None,
        next_action=None,
        payment_method=None,
        payment_method_types=types,
        status="requires_payment_method",
        **fields,
    )
    intent["client_secret"] = client_secret(call.book, intent["id"])
    if method:
        intent["payment_method"] = _fitting(call.desk, intent, method)["id"]
        intent["status"] = "requires_confirmation"
    call.desk.emit("setup_intent.created", intent)
    if confirm_now:
        _confirm(call, intent, return_url)
    return intent


def confirm(call: Call) -> Thing:
    intent = call.own("setup_intent")
    params = call.params
    method, return_url = params.text("payment_method"), params.text("return_url")
    params.ignore(
        "use_stripe_sdk", "mandate_data", "payment_method_options", "expected_payment_method_type"
    )
    params.done()
    if intent["status"] not in OPEN:
        words = (
            f"You cannot confirm this SetupIntent because it has a status of {intent['status']}."
        )
        raise wrong_state(words, setup_intent=intent)
    if method:
        intent["payment_method"] = _fitting(call.desk, intent, method)["id"]
    _confirm(call, intent, return_url)
    return intent


def _fitting(desk: Desk, intent: Thing, wanted: str) -> Thing:
    method = usable(desk, wanted)
    if method["customer"] not in (None, intent["customer"]):
        words = "The payment method belongs to another customer than this SetupIntent."
        raise invalid(words, "payment_method")
    return method


def _confirm(call: Call, intent: Thing, return_url: str | None) -> None:
    desk = call.desk
    if not intent["payment_method"]:
        words = (
            "You cannot confirm this SetupIntent because it's missing a payment method. Update the "
            "SetupIntent with a payment method and then confirm it again."
        )
        raise wrong_state(words, setup_intent=intent)
    method = desk.table("payment_method")[intent["payment_method"]]
    card = call.book.hidden[method["id"]].card
    if card.authenticate != "never":
        action = next_action(call.book, intent["id"], return_url)
        intent |= {"status": "requires_action", "next_action": action}
        desk.emit("setup_intent.requires_action", intent)
        return
    _try(desk, intent)


def _try(desk: Desk, intent: Thing) -> None:
    method = desk.table("payment_method")[intent["payment_method"]]
    hidden = desk.book.hidden[method["id"]]
    decline = DECLINES.get(hidden.card.decline)
    if decline is not None and not hidden.card.attaches:
        refused = refuse_card(decline, payment_method=dict(method))
        fail(desk, intent, refused)
        raise refused
    if intent["customer"]:
        attach_to(desk, method, intent["customer"])
    hidden.set_up = True
    intent |= {"status": "succeeded", "next_action": None, "last_setup_error": None}
    desk.emit("setup_intent.succeeded", intent)


def fail(desk: Desk, intent: Thing, refused: Refused) -> None:
    """Back to the beginning, with the error kept; the error also holds the intent."""
    intent |= {"status": "requires_payment_method", "payment_method": None, "next_action": None}
    intent["last_setup_error"] = refused.body()["error"]
    desk.emit("setup_intent.setup_failed", intent)
    refused.objects["setup_intent"] = dict(intent)


def authenticated(desk: Desk, intent: Thing, *, passed: bool) -> None:
    """What the card's owner did at the bank's page."""
    if intent["status"] != "requires_action":
        raise ValueError(f"the intent is {intent['status']}")
    if not passed:
        method = desk.table("payment_method")[intent["payment_method"]]
        code = "setup_intent_authentication_failure"
        fail(desk, intent, invalid(NOT_AUTHENTICATED, code=code, payment_method=dict(method)))
        return
    try:
        _try(desk, intent)
    except Refused:
        return  # it stands in the intent


def cancel(call: Call) -> Thing:
    intent = call.own("setup_intent")
    reason = call.params.one_of("cancellation_reason", REASONS)
    call.params.done()
    if intent["status"] not in OPEN:
        words = f"You cannot cancel this SetupIntent because it has a status of {intent['status']}."
        raise wrong_state(words, setup_intent=intent)
    intent |= {"status": "canceled", "cancellation_reason": reason, "next_action": None}
    call.desk.emit("setup_intent.canceled", intent)
    return intent


def update(call: Call) -> Thing:
    intent = call.own("setup_intent")
    params = call.params
    metadata, method = params.metadata(intent["metadata"]), params.text("payment_method")
    customer, description = params.text("customer"), params.text("description")
    params.done()
    if customer:
        living(call, customer, "customer")
        intent["customer"] = customer
    if method:
        intent["payment_method"] = _fitting(call.desk, intent, method)["id"]
        intent["status"] = "requires_confirmation"
    intent |= {"metadata": metadata, "description": description or intent["description"]}
    return intent


def list_all(call: Call) -> Thing:
    wanted = {name: call.params.text(name) for name in ("customer", "payment_method")}
    rows = [
        row
        for row in call.desk.table("setup_intent").values()
        if all(value in (None, row[name]) for name, value in wanted.items())
    ]
    return call.page("setup_intent", rows)


ROUTES: Routes = {
    ("POST", "/v1/setup_intents"): create,
    ("GET", "/v1/setup_intents"): list_all,
    ("GET", "/v1/setup_intents/*"): retriever("setup_intent"),
    ("POST", "/v1/setup_intents/*"): update,
    ("POST", "/v1/setup_intents/*/confirm"): confirm,
    ("POST", "/v1/setup_intents/*/cancel"): cancel,
}
